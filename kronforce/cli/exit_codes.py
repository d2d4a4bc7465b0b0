"""The numbers that the command ends with; docs/exit-codes.md is their page."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Why the command ended."""

    FINE = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    BAD_KEY = 4
    FORBIDDEN = 5
    CONFLICT = 6
    UNREACHABLE = 7
    TIMED_OUT = 8
    ANSWER_IS_NO = 9
    RUN_FAILED = 10
    RUN_CANCELLED = 11
    RUN_TIMED_OUT = 12
    RUN_LOST = 13
    RUN_OTHER = 14
    INTERRUPTED = 130


BY_OUTCOME = {
    "succeeded": Exit.FINE,
    "failed": Exit.RUN_FAILED,
    "cancelled": Exit.RUN_CANCELLED,
    "timed_out": Exit.RUN_TIMED_OUT,
    "lost": Exit.RUN_LOST,
}


def of_outcome(state: str) -> Exit:
    """The number for a run that ended in this state."""
    return BY_OUTCOME.get(state, Exit.RUN_OTHER)
