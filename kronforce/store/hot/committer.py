"""Group commit: what has gathered is written in one transaction, off the event loop.

The loop stages commands; when the thread is idle the loop cuts a batch, the
thread applies it and commits, and the loop then resolves every command of it.
While the thread waits for the disk the next batch gathers, so a commit starts
at once when the system is idle and carries more under load, with no timer.
COMMIT never runs on the event loop: nothing would gather meanwhile.

A batch that fails is retried whole where the store asks for it (deadlock,
serialisation), then command by command, so that a bad one fails only its own
caller. The committer itself never dies.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import sqlalchemy as sa

from kronforce.errors import Unavailable
from kronforce.failpoints import failpoint
from kronforce.store import faults
from kronforce.store.database import Tx
from kronforce.store.faults import driver_error, is_lost
from kronforce.telemetry.histogram import Histogram

log = logging.getLogger(__name__)

# Commands per transaction: enough that fsync no longer shows, few enough that the first of them
# does not wait long for the last.
MAX_BATCH = 1024

# Outcomes told in one turn of the loop: agents get the first assignments of a large batch while
# the rest is told. With fewer the frames became so small that they cost more than they saved.
TELL = 128

# How often a batch is tried again when the store says that somebody else was in the way.
CONFLICT_RETRIES = 5

# How long the store is asked whether a COMMIT that it did not answer was made, seconds, and how
# often: a restart of PostgreSQL takes no longer, and callers wait meanwhile.
ASK_SECS = 5.0
ASK_PAUSE_SECS = 0.1

_before_commit = failpoint("store.before_commit")
_after_commit = failpoint("store.after_commit")


class Command(Protocol):
    """One thing to write."""

    def committed(self, error: Exception | None) -> None:
        """Called on the loop: None after the commit, else why nothing was written."""


Apply = Callable[[Tx, Sequence[Any]], None]
# Whether a batch that was applied is in the store; None: nothing of it can tell.
Landed = Callable[[Tx, Sequence[Any]], bool | None]


class Committer:
    """One connection, one thread, one stream of batches. Start it on the loop that stages."""

    def __init__(self, engine: sa.Engine, apply: Apply, *, name: str, max_batch: int = MAX_BATCH,
                 landed: Landed | None = None):  # fmt: skip
        self._engine = engine
        self._apply = apply
        self._name = name
        self._max_batch = max_batch
        self._landed = landed
        self._staged: list[Any] = []
        self._busy = False
        self._cut_planned = False
        # Outcomes that are still to be told, in the order of their batches.
        self._told: deque[tuple[Any, Exception | None]] = deque()
        self._telling = False
        self._tx: Tx | None = None
        # Whether the last attempt to connect failed.
        self._away = False
        self._batches: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._idle = asyncio.Event()
        self._idle.set()
        self._commits = 0
        self._cuts = 0
        # For metrics: how long batches took, what they held, what was not written of it.
        self.seconds = Histogram()
        self.writes = 0
        self.failed_writes = 0
        # Called on the loop as a batch is cut, to stage what should ride in it.
        self.before_cut: Callable[[], None] = _nothing
        # Called on the loop after a batch, when all of its commands are resolved.
        self.after_commit: Callable[[], None] = _nothing
        # Called on the loop when nobody can say whether a batch was written: memory may be behind.
        self.unsure: Callable[[], None] = _nothing
        # Called on the thread with the fate of each batch that was tried: whether it is committed
        # for certain. What memory holds of the store moves only then.
        self.settled: Callable[[bool], None] = _ignored
        # Called on the thread with commands that were not written, before the next batch begins.
        self.refused: Callable[[list[Any]], None] = _ignored
        # Called on the thread before each batch's transaction begins, for settings of the session.
        self.on_connect: Callable[[sa.Connection], None] | None = None

    def start(self) -> None:
        """Start the thread. Call on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Commit what is staged, then end the thread."""
        while self._staged or self._busy or self._told:
            self._idle.clear()
            self.wake()
            await self._idle.wait()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def staged(self) -> int:
        """Commands that wait for a batch."""
        return len(self._staged)

    @property
    def commits(self) -> int:
        """Batches committed so far."""
        return self._commits

    def stage(self, command: Any) -> None:
        """Add a command to the next batch."""
        self._staged.append(command)
        self.wake()

    def stage_first(self, command: Any) -> None:
        """Put a command at the front of the next batch; for the hook that runs as it is cut."""
        self._staged.insert(0, command)

    @property
    def cuts(self) -> int:
        """Batches cut so far: a command staged since the last one is certainly not written yet."""
        return self._cuts

    def wake(self) -> None:
        """Plan a cut at the end of this turn of the loop, so that its other work rides along.

        Waiting for more company was tried (3 ms under load): with as many slots as these, each
        run's own steps wait for the commits, and both batched and single runs became slower.
        """
        if not self._cut_planned and not self._busy:
            self._cut_planned = True
            self._loop.call_soon(self._cut)

    def _cut(self) -> None:
        self._cut_planned = False
        if self._busy:
            return
        try:
            self.before_cut()
        except Exception:
            log.exception("the hook before a batch failed", extra={"action": "commit_hook"})
        if not self._staged:
            self._idle.set()
            return
        batch = self._staged[: self._max_batch]
        del self._staged[: self._max_batch]
        self._busy = True
        self._cuts += 1
        self._batches.put(batch)

    def _done(self, resolved: list[tuple[Any, Exception | None]]) -> None:
        self._busy = False
        self._commits += 1
        self._told.extend(resolved)
        # What gathered meanwhile is written while the outcome of this batch is told.
        self._cut()
        if not self._telling:
            self._tell()

    def _tell(self) -> None:
        """Tell outcomes, some at a time: in between, what they led to goes out and comes back."""
        for _ in range(min(TELL, len(self._told))):
            command, error = self._told.popleft()
            try:
                command.committed(error)
            except Exception:
                log.exception("a command's follow-up failed", extra={"action": "commit_followup"})
        self._telling = bool(self._told)
        if self._telling:
            self._loop.call_soon(self._tell)
        else:
            self.after_commit()
            self.wake()

    # On the thread from here on.

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            begun = time.monotonic()
            resolved = self._commit(batch)
            self.seconds.observe(time.monotonic() - begun)
            self.writes += len(batch)
            with suppress(RuntimeError):  # the loop is gone: a forced stop
                self._loop.call_soon_threadsafe(self._done, resolved)
        self._disconnect()

    def _commit(self, batch: list[Any]) -> list[tuple[Any, Exception | None]]:
        error = self._try(batch)
        for _ in range(CONFLICT_RETRIES):
            if error is None or not _is_conflict(error):
                break
            error = self._try(batch)
        if error is None:
            return [(command, None) for command in batch]
        if len(batch) == 1 or self._away or isinstance(error, _Unsure):
            # A store that is away takes none of them: one by one they would only wait longer.
            told = self._for_callers(error)
            self.failed_writes += len(batch)
            self.refused(batch)
            return [(command, told) for command in batch]
        log.info(
            "batch failed, trying its commands one by one: %r",
            error,
            extra={"action": "batch_split", "committer": self._name},
        )
        return [pair for command in batch for pair in self._commit([command])]

    def _try(self, batch: list[Any]) -> Exception | None:
        committing = False
        try:
            tx = self._begin()
            self._apply(tx, batch)
            _before_commit()
            committing = True
            self._end(tx.conn)
            _after_commit()
        except Exception as error:  # noqa: BLE001 - every caller is told, and the thread must live
            lost = is_lost(error)
            self._abandon(lost=lost)
            told = self._ask(batch, error) if committing else error
            self.settled(told is None)
            return told
        self.settled(True)
        return None

    def _ask(self, batch: list[Any], error: Exception) -> Exception | None:
        """COMMIT was not answered: see whether it was made. All of a batch is, or nothing."""
        until = time.monotonic() + ASK_SECS
        landed = None
        while self._landed is not None:
            try:
                landed = self._landed(self._begin(), batch)
                self._abandon(lost=False)
                break
            except Exception:  # noqa: BLE001 - the store is still away
                self._disconnect()
            if time.monotonic() > until:
                break
            time.sleep(ASK_PAUSE_SECS)
        if landed is None and self._engine.dialect.name == "sqlite":
            # A file answers: what it did not commit is rolled back.
            return error
        if landed is None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.unsure)
            return _Unsure(str(error))
        return None if landed else error

    def _for_callers(self, error: Exception) -> Exception:
        """What a caller is told: ours as it is, a store that is away as UNAVAILABLE."""
        if isinstance(error, _Unsure):
            log.error("the store did not answer a commit: %s", error,
                      extra={"action": "store_unsure"})  # fmt: skip
            return Unavailable("the store does not answer; look whether it was written, or repeat "
                               "it under the same request_id")  # fmt: skip
        if (told := faults.for_callers(error, self._engine)) is not None:
            log.error("%s", told, extra={"action": "store_refused"})
            return told
        if is_lost(error):
            log.error("the store did not take a write: %s", error, extra={"action": "store_away"})
            return Unavailable("the store does not answer; nothing was written: try again")
        return error

    def _begin(self) -> Tx:
        """One transaction on the driver's own connection; Core joins it where it is used."""
        if self._tx is None:
            self._away = True
            self._tx = Tx(self._connect())
            self._away = False
        if self._tx.sqlite:
            self._tx.cursor.execute("BEGIN IMMEDIATE")
        return self._tx

    def _end(self, conn: sa.Connection) -> None:
        if conn.in_transaction():
            conn.commit()
        else:
            conn.connection.commit()

    def _abandon(self, *, lost: bool) -> None:
        if self._tx is None:
            return
        rolled_back = False
        # Also of a connection that is given up: SQLite keeps its lock as long as anybody, a
        # traceback even, knows a cursor of it.
        with suppress(Exception):
            # Also one that a failed COMMIT has ended: Core refuses everything until it is told.
            if self._tx.conn.get_transaction() is not None:
                self._tx.conn.rollback()
            self._tx.conn.connection.rollback()
            rolled_back = True
        if lost or not rolled_back:
            self._disconnect()

    def _connect(self) -> sa.Connection:
        conn = self._engine.connect()
        if self.on_connect is not None:
            self.on_connect(conn)
            conn.commit()
        return conn

    def _disconnect(self) -> None:
        if self._tx is not None:
            with suppress(Exception):
                self._tx.conn.invalidate()
                self._tx.conn.close()
            self._tx = None


def _nothing() -> None:
    return None


def _ignored(_fate: Any) -> None:
    return None


def _is_conflict(error: Exception) -> bool:
    """Deadlock and serialisation failures: nothing is wrong with the batch itself."""
    return getattr(driver_error(error), "sqlstate", None) in {"40001", "40P01"}


class _Unsure(Exception):
    """Nobody can say whether the batch was written."""
