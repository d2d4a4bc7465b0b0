"""The store's own numbers, asked seldom and by one reader at a time.

However often somebody scrapes, the store is asked once in READ_SECS. A store
that does not answer keeps one reader busy and no more: who asks meanwhile is
told after a short wait that there is no number.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.engine.metrics.oldest_transaction import OldestTransaction
from kronforce.store import measures, status
from kronforce.store.measures import Measures
from kronforce.store.store import Store

log = logging.getLogger(__name__)

# As old as a number of the store may be: below what Prometheus asks at by default (15 s, 60 s).
READ_SECS = 10.0
# A store that takes longer is not well; a scrape may take ten seconds in all.
TIMEOUT_SECS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the store said; ages are seconds at that time."""

    store: Measures
    output_size: int
    xmin_age: float | None


class Readings:
    """One per process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._oldest = OldestTransaction()
        self._task: asyncio.Task[None] | None = None
        self._latest: Reading | None = None
        self._next_at = clock.monotonic()

    async def latest(self) -> Reading | None:
        """At most READ_SECS old; None: the store does not answer."""
        if self._task is None and self._clock.monotonic() >= self._next_at:
            self._task = asyncio.create_task(self._read(), name="metrics-reading")
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=TIMEOUT_SECS)
            if not done:
                return None
        return self._latest

    async def stop(self) -> None:
        """End a reading that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            self._latest = await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not well
            log.warning(
                "the store gave no numbers: %s", error, extra={"action": "metrics.no_store"}
            )
            self._latest = None
        finally:
            self._next_at = self._clock.monotonic() + READ_SECS
            self._task = None

    async def _ask(self) -> Reading:
        found = await self._store.read(measures.measures)
        output_size = await self._store.read_output(status.output_bytes)
        age = None
        if found.open_transactions is not None:
            age = self._oldest.seen(self._clock.monotonic(), *found.open_transactions)
        return Reading(store=found, output_size=output_size, xmin_age=age)
