"""Runs that are staged together: whoever asked for them waits until all are written or refused."""

from __future__ import annotations

import asyncio

from kronforce.store.hot.commands import CreateRun


class Batch:
    """`add` one before each run is staged; call `one_done` with its fate, and `wait` for all."""

    def __init__(self) -> None:
        self._open = 0
        self._done: asyncio.Future[None] | None = None
        # By the run's key, what the store said of those that it did not take.
        self.failed: dict[int, Exception] = {}

    def add(self) -> None:
        self._open += 1

    def one_done(self, run: CreateRun, error: Exception | None) -> None:
        if error is not None:
            self.failed[run.key] = error
        self._open -= 1
        if self._open == 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def wait(self) -> None:
        """Until none is open; at once where none was added."""
        if self._open:
            self._done = asyncio.get_running_loop().create_future()
            # Shielded: a caller that leaves must not cancel what other callbacks wait for.
            await asyncio.shield(self._done)
