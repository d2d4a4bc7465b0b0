"""Looks after variables: changes made elsewhere, expiry, and a rotation that was cut short.

A level-triggered loop: every look rereads what the store says. Each stage of an
expiry is told once, by whichever controller is first; after a pause only the
latest that has passed is told.
"""

from __future__ import annotations

import logging

from kronforce.clock import Clock, next_tick
from kronforce.core.variable_rules import DAY, STAGES, stages_passed
from kronforce.engine.values import key_rotation
from kronforce.engine.values.cache import VariableCache
from kronforce.engine.values.changes import event_group, word_of
from kronforce.errors import Unavailable
from kronforce.security.envelope import Keyring
from kronforce.store import events, variables
from kronforce.store.database import Tx
from kronforce.store.store import Store
from kronforce.store.variables import VariableRow
from kronforce.v1.event_pb2 import SEVERITY_ERROR, SEVERITY_WARNING

log = logging.getLogger(__name__)

# How long another controller's change may take to be seen here: one small read each time.
POLL_SECS = 1.0
# How often expiry is looked at; its stages are days apart.
EXPIRY_SECS = 60.0
# Variables whose expiry is told of in one transaction.
BATCH = 200


class VariableWatch:
    """One loop."""

    def __init__(
        self, *, store: Store, clock: Clock, cache: VariableCache, keyring: Keyring
    ) -> None:
        self._store = store
        self._clock = clock
        self._cache = cache
        self._keyring = keyring
        self._expiry_at = 0.0

    async def run(self) -> None:
        """The loop; ends when it is cancelled."""
        while True:
            try:
                await self.round()
            except Unavailable as error:
                log.warning("variables are looked at again: %s", error,
                            extra={"action": "variables_retry"})  # fmt: skip
            except Exception:
                log.exception("variables are looked at again",
                              extra={"action": "variables_retry"})  # fmt: skip
            await self._clock.sleep_until(next_tick(self._clock, POLL_SECS))

    async def round(self) -> None:
        """One look at everything that is due."""
        await self._cache.poll()
        if self._clock.monotonic() >= self._expiry_at:
            await self.tell_expiry()
            await self._finish_rotation()
            self._expiry_at = self._clock.monotonic() + EXPIRY_SECS

    async def tell_expiry(self) -> None:
        """Events for every stage that has come."""
        while True:
            now = self._clock.now_us()
            ahead = [now + stage for stage in STAGES]
            due = await self._store.read(variables.expiring, ahead, BATCH)
            if not due:
                return
            await self._store.write(_tell, due, now)

    async def _finish_rotation(self) -> None:
        if not await key_rotation.is_unfinished(self._store):
            return
        count = await key_rotation.finish(self._store, self._keyring)
        await self._cache.refresh()
        log.info("the rotation of the secrets' key is finished, %d were still to do", count,
                 extra={"action": "rotation_finished"})  # fmt: skip


def _passed(row: VariableRow, now: int) -> int:
    return 0 if row.expires_at is None else stages_passed(row.expires_at, now)


def _tell(tx: Tx, due: list[VariableRow], now: int) -> None:
    told = []
    for row in due:
        assert row.expires_at is not None
        passed = _passed(row, now)
        if variables.set_told(
            tx, row.key, expires_at=row.expires_at, before=row.expiry_told, told=passed
        ):
            told.append(_event(row, row.expires_at, now, ended=passed == len(STAGES)))
    events.insert_events(tx, told)


def _event(row: VariableRow, expires_at: int, now: int, *, ended: bool) -> events.NewEvent:
    days = -(-(expires_at - now) // DAY)
    when = "has expired" if ended else f"expires in {days} day{'s' if days != 1 else ''}"
    return events.NewEvent(
        kind="variable.expired" if ended else "variable.expiring",
        severity=SEVERITY_ERROR if ended else SEVERITY_WARNING,
        at=now,
        message=f"{word_of(row)} {row.name} {when}",
        actor="controller",
        group_name=event_group(row),
    )
