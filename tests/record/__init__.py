"""The record of jobs, on SQLite and on PostgreSQL."""
