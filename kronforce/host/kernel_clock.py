"""What the kernel knows of its own clock: whether something sets it, and how far off it may be.

One call of `adjtimex` that changes nothing; no privilege is needed.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# From <sys/timex.h>.
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelClock:
    """`error_us` is the largest error that the kernel thinks possible, while it is in step."""

    in_step: bool
    error_us: int


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def read() -> KernelClock | None:
    """None where it cannot be asked: another system, or a container that forbids it."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    found = _Timex()
    state = adjtimex(ctypes.byref(found))
    if state < 0:
        return None
    in_step = state != _TIME_ERROR and not found.status & _STA_UNSYNC
    return KernelClock(in_step=in_step, error_us=int(found.maxerror))
