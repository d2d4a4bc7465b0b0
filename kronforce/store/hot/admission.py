"""Concurrency limits: who holds a slot of a job, who waits, who is turned away.

Decided inside the batch's transaction over narrow rows, one per (job, key):
first what ended gives back, then the waiting are let in by priority and age,
then newcomers are judged. A job without limits never comes here. Rows are read
once per batch, changed in memory, and written once at the end.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.hot import statements as st
from kronforce.store.hot.commands import Created, CreateRun, Limit
from kronforce.store.tables import Admission, runs, slots

QUEUE, FORBID, REPLACE = 1, 2, 3
SCHEDULER = 1

SlotId = tuple[int, str]

_BY_PRIORITY = (runs.c.priority.desc(), runs.c.key)
_NEWEST_FIRST = (runs.c.key.desc(),)


class Slot:
    """One (job, key): runs that hold a slot, runs that wait, scheduled ones among these."""

    __slots__ = ("active", "changed", "scheduled_waiting", "waiting")

    def __init__(self, active: int = 0, waiting: int = 0, scheduled_waiting: int = 0) -> None:
        self.active = active
        self.waiting = waiting
        self.scheduled_waiting = scheduled_waiting
        self.changed = False


class Slots:
    """The slot rows that one batch touches."""

    def __init__(self, tx: Tx, slot_ids: Collection[SlotId]) -> None:
        self._tx = tx
        # A job may have as many keys as its runs have values: only those of the batch are read.
        query = (
            sa.select(slots)
            .where(
                slots.c.job_key.in_(sorted({job_key for job_key, _ in slot_ids})),
                slots.c.slot_key.in_(sorted({slot_key for _, slot_key in slot_ids})),
            )
            .order_by(slots.c.job_key, slots.c.slot_key)
            .with_for_update()
        )
        self._rows = {
            (row.job_key, row.slot_key): Slot(row.active, row.waiting, row.scheduled_waiting)
            for row in tx.conn.execute(query)
        }

    def of(self, slot_id: SlotId) -> Slot:
        """The slot; an unused one is made."""
        slot = self._rows.get(slot_id)
        if slot is None:
            slot = self._rows[slot_id] = Slot()
        slot.changed = True
        return slot

    def give_back(self, slot_id: SlotId, admission: int, trigger: int) -> None:
        """A run that held a slot, or waited for one, has ended."""
        slot = self.of(slot_id)
        if admission == Admission.ACTIVE:
            slot.active -= 1
        else:
            slot.waiting -= 1
            slot.scheduled_waiting -= trigger == SCHEDULER

    def let_in(self, slot_id: SlotId, limit: Limit) -> list[int]:
        """Admit the waiting by priority and age; their run keys.

        Where newcomers replace, only the newest matters: the others are about to be cancelled.
        """
        slot = self.of(slot_id)
        free = min(limit.max_concurrent - slot.active, slot.waiting)
        if free <= 0:
            return []
        query = (
            sa.select(runs.c.key, runs.c.trigger)
            .where(runs.c.admission == Admission.WAITING)
            .where(runs.c.job_key == slot_id[0], runs.c.slot_key == slot_id[1])
            .order_by(*_NEWEST_FIRST if limit.policy == REPLACE else _BY_PRIORITY)
            .limit(free)
        )
        admitted = self._tx.conn.execute(query).all()
        slot.active += len(admitted)
        slot.waiting -= len(admitted)
        slot.scheduled_waiting -= sum(row.trigger == SCHEDULER for row in admitted)
        keys = [(row.key,) for row in admitted]
        self._tx.run(st.ADMIT_RUN, keys)
        self._tx.run(st.ADMIT_EXECUTIONS, keys)
        return [row.key for row in admitted]

    def judge(self, run: CreateRun, limit: Limit) -> int:
        """Decide about a newcomer: its `Admission`; outcome and reason are set on it."""
        slot = self.of((run.job.key, limit.key))
        if slot.active < limit.max_concurrent and slot.waiting == 0:
            slot.active += 1
            return Admission.ACTIVE
        reason = _turned_away(run, limit, slot)
        if reason:
            run.outcome = Created.NO_RUN if run.fire_at is not None else Created.SKIPPED
            run.skip_reason = reason
            return Admission.RELEASED
        run.outcome = Created.WAITING
        slot.waiting += 1
        slot.scheduled_waiting += run.trigger == SCHEDULER
        return Admission.WAITING

    def save(self) -> None:
        """Write the rows that changed; of a key that nobody uses any more nothing stays."""
        changed = [pair for pair in sorted(self._rows.items()) if pair[1].changed]
        kept = [(slot_id, slot) for slot_id, slot in changed if not _is_unused(slot_id, slot)]
        self._tx.run(
            st.SET_SLOT,
            [(*slot_id, s.active, s.waiting, s.scheduled_waiting) for slot_id, s in kept],
        )
        if len(kept) < len(changed):
            unused = [slot_id for slot_id, slot in changed if _is_unused(slot_id, slot)]
            self._tx.run(st.DELETE_SLOT, unused)


def _is_unused(slot_id: SlotId, slot: Slot) -> bool:
    return bool(slot_id[1]) and slot.active <= 0 and slot.waiting <= 0


def _turned_away(run: CreateRun, limit: Limit, slot: Slot) -> str:
    """Why a newcomer that found no free slot does not wait; empty: it waits."""
    if limit.policy == FORBID:
        return "overlap"
    if limit.policy == REPLACE:
        return ""
    if run.trigger == SCHEDULER and slot.scheduled_waiting > 0 and not run.caught_up:
        return "overlap"
    return "queue_full" if slot.waiting >= limit.queue_limit else ""
