"""Agents: their sessions, what they report and hold, how they are enrolled and changed."""
