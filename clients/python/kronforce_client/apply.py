"""Declarative jobs: what a definition would change, compared by meaning.

Both sides are brought to the contract's documented defaults first, so that a file which leaves a
default out and a server which writes it down agree. Output-only fields take no part, and neither
does `status` unless the file names one: applying a file does not wake a job that was paused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kronforce.v1.job_pb2 import Job, JobStatus
from kronforce_client import dialect

OUTPUT_ONLY = (
    "id",
    "next_fire_at",
    "last_run",
    "version",
    "etag",
    "created_at",
    "updated_at",
    "paused_until",
    "warnings",
)

# What an unset field means, as the contract's comments state it.
DEFAULTS: Mapping[str, Any] = {
    "group": "Default",
    "schedule": {"type": "on_demand"},
    "target": {"type": "local"},
    "timezone": "UTC",
    "dst_gap": "shift",
    "dst_fold": "first",
    "misfire_policy": "run_once",
    "misfire_limit": 100,
    "offline_timeout_secs": 3600,
    "concurrency_policy": "queue",
    "queue_limit": 1000,
    "queue_timeout_secs": 86_400,
    "kill_grace_secs": 10,
    "retry_backoff": 1,
    "retry_max_delay_secs": 3600,
    "retry_on": ["failed", "timed_out"],
    "delivery": "at_most_once",
    "lost_after_secs": 300,
    "output_cap_bytes": 64 * 1024 * 1024,
}
_UNSET: tuple[Any, ...] = (None, "", "unspecified", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs; None where a side does not have it."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What applying one definition would do, against the version that was read."""

    wanted: Job
    current: Job | None
    changes: Sequence[Change]
    mask: Sequence[str]

    @property
    def action(self) -> str:
        """`create`, `update` or `unchanged`."""
        if self.current is None:
            return "create"
        return "update" if self.changes else "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What applying one definition did, and the job as it is now."""

    planned: Planned
    job: Job

    @property
    def action(self) -> str:
        """`created`, `updated` or `unchanged`."""
        words = {"create": "created", "update": "updated"}
        return words.get(self.planned.action, "unchanged")


def plan_one(wanted: Job, current: Job | None) -> Planned:
    """Compare a definition with the job of its name, or with nothing."""
    after = meaning(wanted)
    before = {} if current is None else meaning(current)
    if wanted.status == JobStatus.JOB_STATUS_UNSPECIFIED:
        before.pop("status", None)
        after.pop("status", None)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    changes: list[Change] = []
    for name in names:
        changes += _changes(name, before.get(name), after.get(name))
    return Planned(wanted=wanted, current=current, changes=changes, mask=names)


def meaning(job: Job) -> dict[str, Any]:
    """The definition as plain data, with defaults written down and output-only fields left out."""
    plain = dialect.render(job)
    for name in OUTPUT_ONLY:
        plain.pop(name, None)
    for name, default in DEFAULTS.items():
        if plain.get(name) in _UNSET:
            plain[name] = default
    return dict(plain)


def _changes(path: str, before: Any, after: Any) -> list[Change]:
    if before == after:
        return []
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [Change(path=path, before=before, after=after)]
    changes: list[Change] = []
    for key in {**before, **after}:
        changes += _changes(f"{path}.{key}", before.get(key), after.get(key))
    return changes
