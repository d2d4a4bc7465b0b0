"""Logs and counters: see README.md."""
