"""One batch of the hot path, in one transaction.

The order is the same in every batch (calls, requests, definitions, agents,
executions that end, runs, slots, fires, new rows, events, statistics), so that two
controllers meet the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kronforce.store.database import Tx
from kronforce.store.dialect import Row
from kronforce.store.hot import creating, finishing
from kronforce.store.hot import statements as st
from kronforce.store.hot.admission import Slots
from kronforce.store.hot.commands import Assign, Call, Created, CreateRun, Finish, NewTarget, Start
from kronforce.store.hot.tallies import Tallies

FENCE = "fence"


def apply(tx: Tx, batch: Sequence[Any]) -> None:
    """Write every command of the batch. Raises to have it rolled back and split."""
    sorted_: dict[type, list[Any]] = {CreateRun: [], Finish: [], Start: [], Assign: []}
    for command in batch:
        if type(command) is Call:
            command.run(tx)
        else:
            sorted_[type(command)].append(command)
    creates, finishes, assigns = sorted_[CreateRun], sorted_[Finish], sorted_[Assign]
    starts = [start for start in sorted_[Start] if not start.void]
    _reset(creates, finishes, assigns)
    events: list[Row] = []
    if creates:
        creating.deduplicate(tx, creates)
        creating.check_definitions(tx, creates)
        creating.forget_refused_requests(tx, creates)
    tallies = Tallies()
    changes = finishing.RunChanges()
    if starts:
        finishing.write_starts(tx, starts, changes, events)
    if finishes:
        finishing.write_finishes(tx, finishes, changes, events)
    changes.save(tx)
    tallies.add_ends(finishes)
    admissions = _admit(tx, changes.ended_runs(), creates)
    if creates:
        creating.write_fires(tx, creates, events)
    _assign(tx, creates, assigns)
    if creates:
        creating.write_runs(tx, creates, admissions, events, tallies)
    tx.run(st.INSERT_EVENT, events)
    tallies.save(tx)


def has_landed(tx: Tx, batch: Sequence[Any]) -> bool | None:
    """Whether a batch that was applied is in the store, by the first command that shows it."""
    for command in batch:
        if isinstance(command, CreateRun) and command.outcome in _MADE:
            return bool(tx.look_up(st.RUN_STATES, [command.key]))
        if isinstance(command, Assign) and command.done:
            found = tx.look_up(st.EXECUTION_FENCES, [command.execution_key])
            return found == [(command.execution_key, command.fence)]
        if isinstance(command, Finish) and command.applied:
            return bool(tx.look_up(st.ENDED, [command.live.key]))
    return None


_MADE = frozenset({Created.CREATED, Created.WAITING, Created.SKIPPED})


def _reset(
    creates: Sequence[CreateRun], finishes: Sequence[Finish], assigns: Sequence[Assign]
) -> None:
    """A batch may be applied again after a rollback: forget what the first try found."""
    for run in creates:
        run.outcome, run.skip_reason = Created.CREATED, ""
        for target in run.targets:
            target.fence = 0
    for finish in finishes:
        finish.applied, finish.run_finished, finish.admitted = False, False, []
        finish.closes_run = False
    for assign in assigns:
        assign.fence, assign.done = 0, False


def _admit(tx: Tx, ended: Sequence[Finish], creates: Sequence[CreateRun]) -> dict[int, int]:
    """Free, let in, judge: nothing at all when no job of the batch has a limit."""
    freed = [finish for finish in ended if finish.live.run.admission]
    limited = [run for run in creates if run.limit is not None]
    if not freed and not limited:
        return {}
    slots = Slots(
        tx,
        [(f.live.run.job.key, f.live.run.slot_key) for f in freed]
        + [(run.job.key, run.limit.key) for run in limited if run.limit is not None],
    )
    finishing.release_slots(tx, freed, slots)
    admissions = creating.admit(limited, slots)
    slots.save()
    return admissions


def _assign(tx: Tx, creates: Sequence[CreateRun], assigns: Sequence[Assign]) -> None:
    """Fences for everything that goes to an agent whose session is still the same."""
    wanted: list[NewTarget | Assign] = [*assigns]
    for run in creates:
        for target in run.targets:
            if target.session is None:
                continue
            if run.outcome is Created.CREATED:
                wanted.append(target)
    if not wanted:
        return
    valid = _valid_sessions(tx, wanted)
    fence = take_counter(tx, FENCE, len(valid)) if valid else 0
    for item in valid:
        item.fence = fence
        fence += 1
    _write_assigns(tx, [item for item in valid if isinstance(item, Assign)])


def _write_assigns(tx: Tx, assigns: Sequence[Assign]) -> None:
    """Those that are not ready any more, ended meanwhile, are told so by `done`."""
    rows = [(a.execution_key, a.agent_key, a.fence, a.assigned_at) for a in assigns]
    for assign in assigns:
        assign.done = True
    if tx.run(st.ASSIGN, rows) != len(rows):
        written = dict(tx.look_up(st.EXECUTION_FENCES, [a.execution_key for a in assigns]))
        for assign in assigns:
            assign.done = written.get(assign.execution_key) == assign.fence


def _valid_sessions(tx: Tx, wanted: Sequence[NewTarget | Assign]) -> list[NewTarget | Assign]:
    """Those whose agent's session was not taken over; the others lose their reservation."""
    epochs: dict[int, int] = {}
    for item in wanted:
        session = item.session if isinstance(item, NewTarget) else item
        epochs[session.agent_key] = session.epoch
    current = dict(tx.look_up(st.SESSION_EPOCHS, epochs))
    valid: list[NewTarget | Assign] = []
    for item in wanted:
        session = item.session if isinstance(item, NewTarget) else item
        if current.get(session.agent_key) == session.epoch:
            valid.append(item)
    return valid


def take_counter(tx: Tx, name: str, count: int) -> int:
    """Take `count` numbers from a counter that only grows; the first of them."""
    mark = "?" if tx.sqlite else "%s"
    tx.cursor.execute(
        f"UPDATE counters SET value = value + {mark} WHERE name = {mark} RETURNING value",
        (count, name),
    )
    row = tx.cursor.fetchone()
    if row is None:
        tx.cursor.execute(
            f"INSERT INTO counters (name, value) VALUES ({mark}, {mark})", (name, count)
        )
        return 1
    return int(row[0]) - count + 1
