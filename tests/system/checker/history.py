"""The words of a history: what clients were told, what the store says, what tasks did.

Plain values, no protos: a broken history is written by hand in a few lines, and the checker stays
independent of how it was recorded. Instants are microseconds UTC, states their lower-case words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

PENDING, RUNNING = "pending", "running"
TERMINAL = frozenset(
    {
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
        "skipped",
        "expired",
        "rejected",
        "lost",
    }
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a job allows; `output_bytes` says that each attempt prints its own known stream.

    `in_agent`: its tasks run inside the agent and end with it. `capped`: of its output the middle
    is given up, which must be said.
    """

    delivery: str = "at_most_once"
    retry_max: int = 0
    max_concurrent: int = 0
    notes_effects: bool = True
    output_bytes: int | None = None
    in_agent: bool = False
    capped: bool = False


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A trigger that was answered: once for each answer, so repeats are here too."""

    job: str
    request_id: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An execution's final row."""

    id: str
    target: int = 0
    number: int = 1
    state: str
    reason: str = ""
    fence: int = 0
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's final row with its executions."""

    id: str
    job: str
    state: str
    nominal_at: int | None = None
    finished_at: int | None = None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Happened:
    """An event, in commit order; `at` is when the controller heard of it."""

    cursor: str
    kind: str
    run_id: str = ""
    execution_id: str = ""
    at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a watch showed of a run, in the order it came."""

    run_id: str
    revision: int
    state: str


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A line that a task wrote outside of Kronforce, in the order written."""

    execution_id: str
    fence: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A chunk of standard output as it was read: bytes, or an explicit gap."""

    offset: int
    data: bytes = b""
    gap: int = 0


@dataclass(frozen=True, kw_only=True)
class Fired:
    """A row of the ledger."""

    job: str
    nominal_at: int
    run_id: str = ""
    reason: str = ""
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What checking the audit log found, and the runs that its trigger entries name."""

    faults: tuple[str, ...] = ()
    triggered: tuple[str, ...] = ()


# As an end of `Killed`: until the round was over.
ALWAYS = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Killed:
    """The round ended this process, or may have, from `since` to `until`."""

    role: str
    since: int = 0
    until: int = ALWAYS


@dataclass(frozen=True, kw_only=True)
class History:
    """Everything that was recorded of one round."""

    policies: Mapping[str, Policy]
    acknowledged: tuple[Acknowledged, ...] = ()
    runs: tuple[Run, ...] = ()
    events: tuple[Happened, ...] = ()
    # What a follower of events got while it happened; None: nobody followed.
    followed: tuple[Happened, ...] | None = None
    seen: tuple[Seen, ...] = ()
    effects: tuple[Effect, ...] = ()
    outputs: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    fires: tuple[Fired, ...] = ()
    # None: nobody asked for it.
    audit: Audit | None = None
    # A launcher that is killed takes with it what the controller had not stored yet: then a
    # success may have gaps, which must be explicit.
    launcher_killed: bool = False
    # What was done to which process; None: nobody noted it, so that anything may have been.
    killed: tuple[Killed, ...] | None = None
    # Processes that were there although all work had ended.
    left: tuple[str, ...] = ()
    # Rows of evidence by execution.
    evidence: Mapping[str, int] = field(default_factory=dict)


def stream_of(execution_id: str, size: int) -> bytes:
    """The bytes that an attempt of a job with `output_bytes` prints: known, and like no other's."""
    return hashlib.shake_256(execution_id.encode()).digest(size)
