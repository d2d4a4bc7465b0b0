"""Being the database's one controller, and noticing when that is over.

On PostgreSQL this is an advisory lock on a connection of its own; on SQLite
a lock file beside the database does it (`data_dir`). A database that was away is found again
and the lock taken anew; if another controller was quicker, this one stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from kronforce.clock import Clock
from kronforce.store.controller_lock import (
    ControllerLock,
    ControllerRunningError,
    take_controller_lock,
)
from kronforce.store.database import Database
from kronforce.telemetry import logs

# How long two controllers could write side by side after a failover of the database; fences and
# compare-and-set keep them from undoing each other meanwhile.
CHECK_SECS = 2.0

log = logs.logger("controller")


class LockKeeper:
    """Takes the lock at start; `run` keeps it; `release` gives it back."""

    def __init__(self, database: Database, clock: Clock, on_lost: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._on_lost = on_lost
        self._lock: ControllerLock | None = None

    def take(self) -> None:
        """Raises ControllerRunningError, or SQLAlchemyError where the database is not there."""
        self._lock = take_controller_lock(self._database.main)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def run(self) -> None:
        """For ever, until another controller is found to have the lock."""
        if self._database.sqlite:
            return
        away = False
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + CHECK_SECS)
            try:
                await asyncio.to_thread(self._check)
                away = False
            except ControllerRunningError:
                log.error("another controller has taken over; stopping", action="lock.lost")
                self._on_lost()
                return
            except SQLAlchemyError:
                if not away:
                    log.warning("the database is away", action="lock.unknown")
                away = True

    def _check(self) -> None:
        if self._lock is not None and self._lock.is_held():
            return
        self.release()
        self.take()
