"""The counts that the promises are told in: what a round did, and what of it should be zero.

They say how much; `rules.py` says what is wrong with it, and finds more than is counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from tests.system.checker.causes import causeless
from tests.system.checker.history import TERMINAL, Effect, History, Piece


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one history, or of many by `+`; all from `unfinished` on should be zero."""

    acknowledged: int = 0
    runs: int = 0
    attempts: int = 0
    lost: int = 0
    gaps: int = 0
    unfinished: int = 0
    stuck: int = 0
    lost_without_cause: int = 0
    duplicated: int = 0
    orphans: int = 0
    silent_gaps: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(Counts)
            }
        )

    def __str__(self) -> str:
        return ", ".join(
            f"{each.name.replace('_', ' ')} {getattr(self, each.name)}" for each in fields(Counts)
        )

    @property
    def broken(self) -> int:
        """How many are against a promise."""
        return (
            self.unfinished
            + self.stuck
            + self.lost_without_cause
            + self.duplicated
            + self.orphans
            + self.silent_gaps
        )


def count(history: History) -> Counts:
    """Count one history."""
    attempts = [attempt for run in history.runs for attempt in run.attempts]
    ended = {run.id for run in history.runs if run.state in TERMINAL}
    asked = {ack.run_id for ack in history.acknowledged}
    pieces = list(history.outputs.values())
    return Counts(
        acknowledged=len(asked),
        runs=len(history.runs),
        attempts=len(attempts),
        lost=sum(attempt.state == "lost" for attempt in attempts),
        gaps=sum(piece.gap > 0 for stream in pieces for piece in stream),
        unfinished=len(asked - ended),
        stuck=sum(attempt.state not in TERMINAL for attempt in attempts),
        lost_without_cause=sum(1 for _ in causeless(history)),
        duplicated=_duplicated(history.effects) + _asked_twice(history),
        orphans=len(history.left),
        silent_gaps=sum(1 for stream in pieces for _ in _jumps(stream)),
    )


def _duplicated(effects: tuple[Effect, ...]) -> int:
    """Starts beyond each execution's first."""
    starts = [effect.execution_id for effect in effects if effect.what == "start"]
    return len(starts) - len(set(starts))


def _asked_twice(history: History) -> int:
    """Runs beyond the first of each request, and of each nominal instant."""
    made = {(ack.job, ack.request_id, ack.run_id) for ack in history.acknowledged}
    requests = {(job, request_id) for job, request_id, _ in made}
    fired = [(run.job, run.nominal_at) for run in history.runs if run.nominal_at is not None]
    return len(made) - len(requests) + len(fired) - len(set(fired))


def _jumps(stream: tuple[Piece, ...]) -> Iterator[int]:
    at = 0
    for piece in stream:
        if piece.offset != at:
            yield at
        at = piece.offset + (len(piece.data) or piece.gap)
