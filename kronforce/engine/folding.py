"""Puts what batches added to the statistics into its buckets, and forgets old buckets.

A level-triggered loop: each look takes what is there, some at a time, and
leaves the writer to others in between. Whoever reads statistics first has what
is there taken, so that an answer counts every end that is stored.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from kronforce.clock import Clock, next_tick
from kronforce.core.stat_windows import DAY, LENGTH_US, kept_from
from kronforce.engine.retention import MAX_BATCHES, Delete, Pace, timed
from kronforce.store import stats_folding as stored
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# Many batches at a time cost less than each by itself; what waits meanwhile is a few rows a batch.
FOLD_SECS = 5.0
# How often old buckets are looked for: minutes are kept for three hours.
FORGET_SECS = 60.0
# How long a reader waits for it at most.
CATCH_UP_SECS = 2.0


class Folding:
    """One loop, and `catch_up` for readers."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pace = Pace(stored.FOLD_BATCH)
        self._lock = asyncio.Lock()
        self._forget_at = clock.monotonic()

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            await self._clock.sleep_until(next_tick(self._clock, FOLD_SECS))
            try:
                await self.catch_up()
                if self._clock.monotonic() >= self._forget_at:
                    await self.forget()
                    self._forget_at = self._clock.monotonic() + FORGET_SECS
            except Exception:
                log.exception("statistics are gone on with", extra={"action": "stats_retry"})

    async def catch_up(self) -> None:
        """Return when what was committed before the call is in its buckets.

        Or after CATCH_UP_SECS, which only a first start after an upgrade needs.
        """
        until = self._clock.monotonic() + CATCH_UP_SECS
        async with self._lock:
            while await self._store.read_once(stored.has_added):
                size = self._pace.size
                now = self._clock.now_us()
                gone, took = await self._store.write(timed, self._clock, stored.fold, now, size)
                pause = self._pace.note(gone, took)
                if gone < size or self._clock.monotonic() >= until:
                    return
                await self._clock.sleep_until(self._clock.monotonic() + pause)

    async def forget(self) -> None:
        """Delete the buckets that are not kept any more."""
        now = self._clock.now_us()
        for level in LENGTH_US:
            await self._until_none(
                partial(stored.delete_buckets, level=level), kept_from(level, now)
            )
        await self._until_none(stored.delete_past_jobs, kept_from(DAY, now))

    async def _until_none(self, delete: Delete, cutoff: int) -> None:
        pace = Pace(stored.DELETE_BATCH)
        for _ in range(MAX_BATCHES):
            gone, took = await self._store.write(timed, self._clock, delete, cutoff, pace.size)
            if not gone:
                return
            await self._clock.sleep_until(self._clock.monotonic() + pace.note(gone, took))
