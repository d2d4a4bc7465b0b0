"""Forgets what is old, in bounded batches, so that the hot path hardly notices.

Never a run that has not ended. Each batch is one short transaction among those
of the hot path, which wait for it: its size follows how long the writer took,
and a pause behind it leaves the writer to the others most of the time. What is
left over is taken in the next round. Also clears a job's history on request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from kronforce.clock import Clock, to_us
from kronforce.core.access import Scope, system_scope
from kronforce.engine.audit_states import job_resource
from kronforce.engine.auditing import record
from kronforce.store import audit_retention
from kronforce.store import output as output_store
from kronforce.store import retention as stored
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.jobs import JobRow
from kronforce.store.open_work import jobs_with_history_limit
from kronforce.store.partitions import drop_partitions, ensure_partitions
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# How often the whole round is made.
ROUND_SECS = 60.0
# Batches of one kind in one round; a large backlog is worked off over several.
MAX_BATCHES = 20_000
# Runs that one call of ClearHistory deletes at most: some minutes of work.
MAX_CLEARED = 100_000

# A batch that took the writer longer than this was too large, one that took half of it too small:
# a trigger that comes at the wrong moment waits for one.
SLOW_SECS = 0.005
# Runs or rows of the first batch, and the least of any.
LEAST = 20
# The pause after a batch: so many times what it took, so that most of the writer is the others'.
SHARE = 3.0
LEAST_PAUSE_SECS = 0.005

Keys = Callable[[int], Coroutine[Any, Any, list[int]]]
Delete = Callable[..., int]


class Pace:
    """How large the next batch is, and how long to pause after one, by what they take."""

    def __init__(self, most: int) -> None:
        self.size = LEAST
        self._most = most

    def note(self, deleted: int, took: float) -> float:
        """Learn from a batch; the seconds to pause after it."""
        if took > SLOW_SECS:
            self.size = max(LEAST, deleted // 2)
        elif took < SLOW_SECS / 2 and deleted >= self.size:
            self.size = min(self._most, self.size * 5 // 4)
        return max(LEAST_PAUSE_SECS, SHARE * took)


_EVERYTHING = system_scope("retention")


class Retention:
    """One loop."""

    def __init__(
        self, *, store: Store, clock: Clock, keep: timedelta, keep_audit: timedelta
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._keep_audit = keep_audit
        self._pace = Pace(stored.RUNS_BATCH)

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + ROUND_SECS)
            try:
                await self.round()
            except Exception:
                log.exception("retention tries again", extra={"action": "retention_retry"})

    async def round(self) -> int:
        """Everything that is too old; runs that went."""
        await self._store.write(ensure_partitions, self._clock.now_us())
        cutoff = to_us(self._clock.now() - self._keep)
        gone = await self._runs(lambda size: self._store.read(stored.finished_before, cutoff, size))
        gone += await self._by_history()
        # Whole days first: what is left for the deletes is little.
        await self._store.write(drop_partitions, cutoff)
        for delete, most in (
            (stored.delete_events, stored.EVENTS_BATCH),
            (stored.delete_requests, stored.REQUESTS_BATCH),
            (stored.delete_skips, stored.FIRES_BATCH),
            (stored.delete_jobs, stored.JOBS_BATCH),
        ):
            await self._until_none(delete, cutoff, Pace(most))
        await self._audit()
        return gone

    async def _audit(self) -> None:
        now = self._clock.now()
        signer, at = self._store.audit.signer, to_us(now)

        def cut(tx: Tx, cutoff: int, limit: int) -> int:
            return audit_retention.cut(tx, cutoff, signer=signer, now=at, limit=limit)

        cutoff = to_us(now - self._keep_audit)
        await self._until_none(cut, cutoff, Pace(audit_retention.CUT_BATCH))

    async def clear(self, scope: Scope, job: JobRow, author: Actor) -> tuple[int, bool]:
        """Delete a job's ended runs but the newest: how many went, and whether more are left.

        The audit entry comes first: a call that is left half way has its entry too.
        """
        now = self._clock.now_us()
        await self._store.write(record, author, now, "job.history_cleared", job_resource(job))
        gone = await self._beyond(scope, job.key, 1, MAX_CLEARED)
        left = await self._store.read(stored.beyond_history, job.key, 1, 1, scope=scope)
        return gone, bool(left)

    async def _by_history(self) -> int:
        gone = 0
        for job_key, keep in await self._store.read(jobs_with_history_limit):
            gone += await self._beyond(_EVERYTHING, job_key, keep)
        return gone

    async def _beyond(self, scope: Scope, job_key: int, keep: int, limit: int | None = None) -> int:
        """Delete what a job has beyond its newest `keep` runs."""
        return await self._runs(
            lambda size: self._store.read(stored.beyond_history, job_key, keep, size, scope=scope),
            limit,
        )

    async def _runs(self, next_keys: Keys, limit: int | None = None) -> int:
        """Delete batch after batch until there is none left, or the limit is reached."""
        gone = 0
        for _ in range(MAX_BATCHES):
            size = self._pace.size if limit is None else min(self._pace.size, limit - gone)
            keys = await next_keys(size) if size > 0 else []
            if not keys:
                break
            gone += await self._delete(keys)
        return gone

    async def _until_none(self, delete: Delete, cutoff: int, pace: Pace) -> None:
        for _ in range(MAX_BATCHES):
            gone, took = await self._store.write(timed, self._clock, delete, cutoff, pace.size)
            if not gone:
                return
            await self._pause(pace.note(gone, took))

    async def _delete(self, run_keys: list[int]) -> int:
        """Output first: a crash in between leaves a run without output, not the other way."""
        executions = await self._store.read(stored.executions_of, run_keys)
        streamed = list(await self._store.read_output(output_store.progress_of, executions))
        if streamed:
            await self._delete_output(streamed)
        gone, took = await self._store.write(timed, self._clock, stored.delete_runs, run_keys)
        await self._pause(self._pace.note(len(run_keys), took))
        return gone

    async def _delete_output(self, execution_keys: list[int]) -> None:
        args = execution_keys, stored.OUTPUT_BATCH
        while await self._store.write_output(output_store.delete_output, *args):
            await self._pause(LEAST_PAUSE_SECS)

    async def _pause(self, secs: float) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + secs)


def timed(tx: Tx, clock: Clock, delete: Delete, *args: Any) -> tuple[int, float]:
    """What it deleted, and the seconds that it held the writer."""
    begun = clock.monotonic()
    gone = delete(tx, *args)
    return gone, clock.monotonic() - begun
