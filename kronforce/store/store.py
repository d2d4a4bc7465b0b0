"""The store as the rest of the controller sees it: read, write, stage.

Reads run in threads of their own; every write goes through one of two
committers, one for what jobs and runs are, one for streamed output. Nothing
else in the controller opens a connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from kronforce.clock import Clock
from kronforce.store.audit_chain import AuditChain
from kronforce.store.database import Database, Tx, pin_plans
from kronforce.store.hot.apply import apply, has_landed
from kronforce.store.hot.commands import Call
from kronforce.store.hot.committer import Committer
from kronforce.store.hot.finishing import note_refused
from kronforce.store.hot.output_apply import apply_output

P = ParamSpec("P")
T = TypeVar("T")

# Output rows are 16-64 KiB: this many bound a transaction to a few tens of MiB.
OUTPUT_BATCH = 256


class Store:
    """Open it with `start`, close it with `stop`; everything runs on one event loop."""

    def __init__(self, database: Database, clock: Clock, *, audit_key: bytes | None = None) -> None:
        self.database = database
        self._clock = clock
        # Without a key that outlives it nobody can check this life's chain but itself.
        self.audit = AuditChain(audit_key or secrets.token_bytes(32), clock.now_us)
        self.main = Committer(database.main, self._apply, name="committer", landed=self._landed)
        self.main.settled = self._settled
        self.main.refused = note_refused
        self.output = Committer(
            database.output, apply_output, name="output-committer", max_batch=OUTPUT_BATCH
        )
        if not database.sqlite:
            self.main.on_connect = self.output.on_connect = pin_plans
        self._commit_seen = asyncio.Event()
        self.main.after_commit = self._tell_waiters

    async def start(self) -> None:
        """Start both committers on this loop."""
        self.main.start()
        self.output.start()

    async def stop(self) -> None:
        """Commit what is staged, output first, and close every connection."""
        await self.output.stop()
        await self.main.stop()
        self.database.close()

    async def read(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs) -> T:
        """Run `fn(tx, …)` in a read transaction, in a reader thread."""
        return await self.database.read(fn, *args, **kw)

    async def read_once(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """The same for a function that asks one question: without a transaction around it."""
        return await self.database.read_once(fn, *args, **kw)

    async def read_output(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """The same over streamed output."""
        return await self.database.read_output(fn, *args, **kw)

    async def write(self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs) -> T:
        """Run `fn(tx, …)` inside the next batch's transaction; its result after the commit."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.main.stage(Call(fn, args, kw, future))
        return await future

    async def write_output(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> T:
        """The same over streamed output."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.output.stage(Call(fn, args, kw, future))
        return await future

    def stage(self, command: Any) -> None:
        """Add a hot command to the next batch; its `then` runs after the commit."""
        self.main.stage(command)

    # On the committer's thread: what a batch noted for the audit log is its last write.

    def _apply(self, tx: Tx, batch: Sequence[Any]) -> None:
        tx.noted.clear()
        apply(tx, batch)
        self.audit.write(tx, tx.noted)

    def _landed(self, tx: Tx, batch: Sequence[Any]) -> bool | None:
        landed = has_landed(tx, batch)
        return self.audit.has_landed(tx) if landed is None else landed

    def _settled(self, landed: bool) -> None:
        self.audit.settle(landed=landed)

    @property
    def commits(self) -> int:
        """Batches committed so far; what `wait_commit` compares with."""
        return self.main.commits

    async def wait_commit(self, after: int, timeout: float) -> int:  # noqa: ASYNC109 - the clock's
        """Wait until more than `after` batches are committed, or the time is over; the count."""
        if self.main.commits <= after:
            await self._clock.wait(self._commit_seen, timeout)
        return self.main.commits

    def _tell_waiters(self) -> None:
        # Everybody who waits now is woken; who comes later waits for the next commit.
        self._commit_seen.set()
        self._commit_seen = asyncio.Event()
