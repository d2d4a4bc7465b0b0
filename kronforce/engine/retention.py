"""Forgets what is old, in bounded batches, so that the hot path hardly notices.

Never a run that has not ended. Each batch is one short transaction, with a
pause behind it; what is left over is taken in the next round.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from kronforce.clock import Clock, to_us
from kronforce.store import output as output_store
from kronforce.store import retention as stored
from kronforce.store.open_work import jobs_with_history_limit
from kronforce.store.partitions import drop_partitions, ensure_partitions
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# How often the whole round is made.
ROUND_SECS = 60.0
# Between two batches: the writer is free for others at least this long.
PAUSE_SECS = 0.05
# Batches in one round; a large backlog is worked off over several.
MAX_BATCHES = 500


class Retention:
    """One loop."""

    def __init__(self, *, store: Store, clock: Clock, keep: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + ROUND_SECS)
            try:
                await self.round()
            except Exception:
                log.exception("retention tries again", extra={"action": "retention_retry"})

    async def round(self) -> int:
        """Everything that is too old, at most `MAX_BATCHES` batches; runs that went."""
        await self._store.write(ensure_partitions, self._clock.now_us())
        cutoff = to_us(self._clock.now() - self._keep)
        gone = 0
        for _ in range(MAX_BATCHES):
            keys = await self._store.read(stored.finished_before, cutoff)
            if not keys:
                break
            gone += await self._delete(keys)
        gone += await self._by_history()
        # Whole days first: what is left for the deletes is little.
        await self._store.write(drop_partitions, cutoff)
        for delete in (stored.delete_events, stored.delete_requests, stored.delete_skips,
                       stored.delete_jobs):  # fmt: skip
            await self._until_none(delete, cutoff)
        return gone

    async def _by_history(self) -> int:
        gone = 0
        for job_key, keep in await self._store.read(jobs_with_history_limit):
            keys = await self._store.read(stored.beyond_history, job_key, keep)
            if keys:
                gone += await self._delete(keys)
        return gone

    async def _until_none(self, delete: Any, cutoff: int) -> None:
        for _ in range(MAX_BATCHES):
            if not await self._store.write(delete, cutoff):
                return
            await self._pause()

    async def _delete(self, run_keys: list[int]) -> int:
        """Output first: a crash in between leaves a run without output, not the other way."""
        executions = await self._store.read(stored.executions_of, run_keys)
        while await self._store.write_output(
            output_store.delete_output, executions, stored.OUTPUT_BATCH
        ):
            await self._pause()
        gone = await self._store.write(stored.delete_runs, run_keys)
        await self._pause()
        return gone

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + PAUSE_SECS)
