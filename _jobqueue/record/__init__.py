"""The record of jobs in SQL: alone imports sqlite3 and psycopg."""
