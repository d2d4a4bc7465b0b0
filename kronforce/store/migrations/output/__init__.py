"""Streamed output: a file of its own on SQLite, tables beside the others on PostgreSQL."""
