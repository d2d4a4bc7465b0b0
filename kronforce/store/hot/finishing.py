"""Starts and ends of executions, and what they make of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kronforce.store.database import Tx
from kronforce.store.dialect import Row
from kronforce.store.hot import statements as st
from kronforce.store.hot.admission import Slots
from kronforce.store.hot.commands import Finish, NextAttempt, Start
from kronforce.store.hot.events import completed_event, started_event
from kronforce.store.tables import Admission, Phase

PENDING = 1
RUNNING = 3


class SplitBatch(Exception):
    """A compare-and-set missed somewhere in the batch: go through it one by one."""


def write_starts(tx: Tx, starts: Sequence[Start], changes: RunChanges, events: list[Row]) -> None:
    """pending → running, for those that their finish has not overtaken."""
    rows = [(start.execution_key, start.fence, start.at) for start in starts]
    if tx.run(st.START, rows) != len(rows):
        if len(rows) > 1:
            raise SplitBatch
        return
    for start in starts:
        changes.start(start.live.run, start.at)
        events.append(started_event(start.live, start.at))


def write_finishes(
    tx: Tx, finishes: Sequence[Finish], changes: RunChanges, events: list[Row]
) -> None:
    """Any open state → a terminal one; further attempts are inserted in the same transaction."""
    _look_for_starts(tx, [f for f in finishes if f.start is not None and f.start.refused])
    if tx.run(st.FINISH, [_finish_row(finish) for finish in finishes]) != len(finishes):
        if len(finishes) > 1:
            raise SplitBatch
        # It ended before, most likely by this very command, whose COMMIT nobody answered.
        _read_back(tx, list(finishes))
        return
    tx.run(st.END_TARGET, [_target_row(finish) for finish in finishes])
    tx.run(st.INSERT_INLINE, [(f.live.key, f.inline) for f in finishes if f.inline is not None])
    following = [finish for finish in finishes if finish.next_attempt is not None]
    tx.run(st.INSERT_EXECUTION, [_attempt_row(finish) for finish in following])
    for finish in finishes:
        finish.applied = True
        changes.finish(finish)
        if finish.tell_start and finish.started_at is not None:
            events.append(started_event(finish.live, finish.started_at))
        events.append(completed_event(finish))


def note_refused(batch: Sequence[Any]) -> None:
    """On the committer's thread: a finish may be in the very next batch."""
    for command in batch:
        if type(command) is Start:
            command.refused = True


def _look_for_starts(tx: Tx, doubtful: Sequence[Finish]) -> None:
    """Where a start was refused its finish tells of it, unless it was written all the same."""
    if doubtful:
        stored = dict(tx.look_up(st.EXECUTION_STARTS, [finish.live.key for finish in doubtful]))
        for finish in doubtful:
            finish.tell_start = stored.get(finish.live.key) is None


class RunChanges:
    """What a batch does to each run, gathered so that every run is written once."""

    def __init__(self) -> None:
        # run key → [closed, worst, reason, started_at, finished_at, outputs, steps]
        self._rows: dict[int, list[Any]] = {}
        self._ended: list[Finish] = []
        # run key → how long it may take, for runs that started and have such a limit.
        self._timeouts: dict[int, int] = {}
        # Runs of several targets of which one was told late: others may have ended after it.
        self._told_late: set[int] = set()

    def _of(self, run_key: int) -> list[Any]:
        row = self._rows.get(run_key)
        if row is None:
            row = self._rows[run_key] = [0, 0, "", None, None, None, 0]
        return row

    def start(self, run: Any, at: int) -> None:
        row = self._of(run.key)
        row[3] = at if row[3] is None else min(row[3], at)
        row[6] += 1
        if run.job.run_timeout_us:
            self._timeouts[run.key] = run.job.run_timeout_us

    def finish(self, finish: Finish) -> None:
        run = finish.live.run
        row = self._of(run.key)
        row[6] += 1
        if finish.started_at is not None:
            row[3] = finish.started_at if row[3] is None else min(row[3], finish.started_at)
            if run.job.run_timeout_us:
                self._timeouts[run.key] = run.job.run_timeout_us
        if finish.outputs is not None:
            row[5] = finish.outputs
        if finish.next_attempt is not None:
            return
        self._ended.append(finish)
        row[0] += 1
        row[4] = finish.finished_at
        if finish.finished_at != finish.told_at and run.target_count > 1:
            self._told_late.add(run.key)
        rank = st.RANK[finish.state]
        if rank > row[1]:
            row[1], row[2] = rank, finish.reason

    def save(self, tx: Tx) -> None:
        """Write every run once, then tell each last finish what its run became."""
        tx.run(st.CHANGE_RUN, [(key, *row) for key, row in sorted(self._rows.items())])
        tx.run(st.SET_DEADLINE, sorted(self._timeouts.items()))
        tx.run(st.SET_RUN_END, [(key,) for key in sorted(self._told_late)])
        many: list[Finish] = []
        for finish in self._ended:
            if finish.live.run.target_count == 1:
                finish.run_state, finish.run_finished = finish.state, True
                finish.closes_run = True
            else:
                many.append(finish)
        if many:
            _read_back(tx, many)
            for finish in {f.live.run.key: f for f in many if f.run_finished}.values():
                finish.closes_run = True

    def ended_runs(self) -> list[Finish]:
        """One finish for each run that has ended."""
        return [finish for finish in self._ended if finish.closes_run]


def _read_back(tx: Tx, finishes: list[Finish]) -> None:
    rows = tx.look_up(st.RUN_STATES, {finish.live.run.key for finish in finishes})
    found = {key: (state, finished_at) for key, state, finished_at in rows}
    for finish in finishes:
        finish.run_state, finished_at = found.get(
            finish.live.run.key, (finish.state, finish.finished_at)
        )
        finish.run_finished = finished_at is not None
        finish.run_ended_at = finished_at


def release_slots(tx: Tx, ended: Sequence[Finish], slots: Slots) -> None:
    """Runs that ended give back what they held, and the waiting are let in."""
    # Not what memory knows: a waiting run may have been let in since it was read.
    stored = dict(tx.look_up(st.RUN_ADMISSIONS, [finish.live.run.key for finish in ended]))
    limited = [f for f in ended if stored[f.live.run.key] in (Admission.ACTIVE, Admission.WAITING)]
    tx.run(st.RELEASE_RUN, [(finish.live.run.key,) for finish in limited])
    for finish in limited:
        run = finish.live.run
        slot_id = (run.job.key, run.slot_key)
        slots.give_back(slot_id, stored[run.key], run.trigger)
        finish.admitted = slots.let_in(slot_id, run.job.limit_of(run.slot_key))


def _finish_row(f: Finish) -> Row:
    return (
        f.live.key, f.live.fence, f.state, f.reason, f.message, f.started_at, f.finished_at,
        f.exit_code, f.signal, f.stdout_bytes, f.stderr_bytes, f.outputs, f.dispatch,
    )  # fmt: skip


def _target_row(f: Finish) -> Row:
    state = f.state if f.next_attempt is None else PENDING
    return (f.live.run.key, f.live.target_index, f.agent_key, state, f.live.attempt_number)


def _attempt_row(finish: Finish) -> Row:
    following, live = finish.next_attempt, finish.live
    assert following is not None
    return new_attempt_row(live, following, finish.told_at)


def new_attempt_row(live: Any, a: NextAttempt, now: int) -> Row:
    phase = Phase.READY if a.due_at is None else Phase.RETRY_WAIT
    return (
        a.execution_key, a.execution_id, live.run.key, live.run.job.key, live.target_index, "", 0,
        a.attempt_number, a.retry_of, PENDING, "", "", phase, live.run.priority, a.route, None, 0,
        a.losses, now, a.due_at, a.queue_deadline_at, None, None, "", 0, 0, 0,
    )  # fmt: skip
