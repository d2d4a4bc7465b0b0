"""What holds a job back whatever its schedule says: its window and its pause.

Automatic triggers (schedule, event, cascade, webhook) fire only between
`starts_at` and `expires_at` and not while paused; a person's trigger ignores
the pause, and the window too if it says `force`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

WINDOW = "window"
PAUSED = "paused"


class JobStatus(IntEnum):
    """Whether a job will fire by itself; numbers are the contract's."""

    SCHEDULED = 1
    PAUSED = 2
    UNSCHEDULED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A job's window and pause; `starts_at` is inside the window, `expires_at` is not.

    `paused` with `paused_until` holds until that instant, without it for good.
    """

    starts_at: datetime | None = None
    expires_at: datetime | None = None
    paused: bool = False
    paused_until: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def in_window(self, at: datetime) -> bool:
        return not self.is_expired(at) and (self.starts_at is None or at >= self.starts_at)

    def is_paused(self, at: datetime) -> bool:
        return self.paused and (self.paused_until is None or at < self.paused_until)


OPEN_GATE = Gate()


def refusal(gate: Gate, *, now: datetime, manual: bool, force: bool = False) -> str | None:
    """Why a trigger must not make a run now (`window`, `paused`), or None."""
    if not gate.in_window(now) and not (manual and force):
        return WINDOW
    if gate.is_paused(now) and not manual:
        return PAUSED
    return None


def derive_status(gate: Gate, *, now: datetime, will_fire: bool) -> JobStatus:
    """A job's status; `will_fire`: it has a next fire, or an interval run to wait for."""
    if gate.is_expired(now) or (not will_fire and not gate.is_paused(now)):
        return JobStatus.UNSCHEDULED
    return JobStatus.PAUSED if gate.is_paused(now) else JobStatus.SCHEDULED
