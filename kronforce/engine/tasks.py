"""The owner of the engine's short background work: nothing it starts is orphaned or silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from kronforce.clock import Clock
from kronforce.errors import KronforceError, Unavailable

log = logging.getLogger(__name__)

# Work that must be done is tried again after this long, for as long as the controller runs: given
# up it would leave an execution where nobody looks for it.
RETRY_SECS = 1.0


class Tasks:
    """Starts coroutines, logs how they fail, and ends them together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Run it on its own; an error is logged under the name."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)

    def spawn_until_done(self, work: Callable[[], Coroutine[Any, Any, Any]], *, name: str) -> None:
        """The same for what must be done: when it fails it is tried again."""
        self.spawn(self._until_done(work, name), name=name)

    async def _until_done(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                if isinstance(error, KronforceError) and not isinstance(error, Unavailable):
                    # Refused, not failed: asking again brings nothing else.
                    raise
                log.warning("%s failed, trying again: %s", name, error,
                            extra={"action": "background_retry"})  # fmt: skip
            else:
                return
            await self._clock.sleep_until(self._clock.monotonic() + RETRY_SECS)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, Unavailable):
            # Not a fault of ours: the store is away or has no room.
            log.warning("%s failed: %s", task.get_name(), error,
                        extra={"action": "background_failed"})  # fmt: skip
        else:
            log.error("%s failed", task.get_name(), exc_info=error,
                      extra={"action": "background_failed"})  # fmt: skip

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
