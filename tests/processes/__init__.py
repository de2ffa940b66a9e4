"""The programs: how they start, work and end."""
