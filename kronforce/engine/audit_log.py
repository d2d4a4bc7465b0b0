"""The audit log's own use cases: checking it, and what was refused.

A check goes page by page, so that no read lasts long, and stops after
`CALL_ENTRIES`: a caller goes on from there. Refusals are limited for each key
and method, because a key that may do nothing must not fill the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kronforce.clock import Clock
from kronforce.engine.auditing import Resource, record
from kronforce.store.audit import Actor
from kronforce.store.audit_verify import (
    FAULTS_MAX,
    PAGE_ENTRIES,
    START,
    Checked,
    Place,
    verify_page,
)
from kronforce.store.store import Store

# Entries that one call checks: a few seconds, far from the ceiling of a call.
CALL_ENTRIES = 100_000

# Refusals of one method that one key has written in a minute; the rest are counted.
REFUSALS = 10
MINUTE_SECS = 60.0
# Pairs of key and method that are remembered; beyond it the counts begin anew.
REMEMBERED = 10_000


@dataclass(slots=True)
class _Count:
    since: float
    written: int = 0
    left_out: int = 0


class AuditLog:
    """For one event loop."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}

    async def verify(
        self, after: Place = START, *, entries: int = CALL_ENTRIES, page_size: int = PAGE_ENTRIES
    ) -> Checked:
        """Check what comes after a place, at least one page of it."""
        whole, place = Checked(), after
        while True:
            page = await self._store.read(verify_page, self._store.audit.signer, place, page_size)
            whole.faults += page.faults[: FAULTS_MAX - len(whole.faults)]
            whole.entries += page.entries
            whole.chains += page.chains
            whole.cut += page.cut
            whole.after = page.after
            if page.after is None or whole.entries >= entries:
                return whole
            place = page.after

    async def refuse(self, actor: Actor, method: str, details: Mapping[str, Any]) -> None:
        """Record that a role was not enough for an admin's method."""
        count = self._count(actor.id, method)
        if count.written >= REFUSALS:
            count.left_out += 1
            return
        count.written += 1
        if count.left_out:
            details = {**details, "left_out_before": count.left_out}
            count.left_out = 0
        await self._store.write(
            record,
            actor,
            self._clock.now_us(),
            "call.refused",
            Resource(type="method", name=method),
            details=details,
            refused=True,
        )

    def _count(self, actor_id: str, method: str) -> _Count:
        now, pair = self._clock.monotonic(), (actor_id, method)
        count = self._counts.get(pair)
        if count is None:
            if len(self._counts) >= REMEMBERED:
                self._counts.clear()
            count = self._counts[pair] = _Count(now)
        elif now >= count.since + MINUTE_SECS:
            count.since, count.written = now, 0
        return count
