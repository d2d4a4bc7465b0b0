"""The line that says who wanted an end, and why: one form wherever it is stored or shown."""

from __future__ import annotations


def cancel_line(by: str, message: str | None) -> str:
    """`cancelled by ci: testing it`"""
    return f"cancelled by {by}" + (f": {message}" if message else "")


def told_of_end(line: str, said: str) -> str:
    """The line, and what the agent had to say beside that it was cancelled."""
    more = said.removeprefix("cancelled").lstrip("; ")
    return f"{line}; {more}" if line and more else line or said
