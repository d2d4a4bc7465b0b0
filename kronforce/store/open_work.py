"""Open work as the engine loads it: executions that have not ended, with their runs.

Used at start, when the head of a route runs low, when a limit lets a run in,
and when somebody names work that memory does not hold. Every query goes by a
partial index, so that cost follows what is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.hot.admission import Slots
from kronforce.store.hot.commands import Limit
from kronforce.store.jobs import JobRow, jobs_by_keys
from kronforce.store.prepared import Prepared
from kronforce.store.state_filter import IS_HELD, IS_WAITING, in_phase
from kronforce.store.tables import (
    Admission,
    Phase,
    executions,
    job_versions,
    jobs,
    run_targets,
    runs,
    slots,
)
from kronforce.store.tables.job_tables import MAY_LIMIT_HISTORY
from kronforce.v1.job_pb2 import Job

# Keys per `IN (…)`: far below both stores' limits for parameters.
CHUNK = 500

# How far back open runs are looked for where a newcomer replaces them: there are at most
# `max_concurrent` of them and those that wait.
REPLACED = 1_000

# `JobStatus`, `Trigger` and `ExecutionState` of the contract.
UNSCHEDULED = 3
SCHEDULER = 1
PENDING = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRow:
    """An open execution with what the engine needs of its run."""

    key: int
    id: bytes
    run_key: int
    target_index: int
    attempt_number: int
    retry_of: bytes | None
    phase: int
    route: int
    agent_key: int | None
    bound_agent_key: int | None
    fence: int
    losses: int
    due_at: int | None
    queue_deadline_at: int | None
    created_at: int
    started_at: int | None
    cancel_requested_at: int | None
    run_id: bytes
    job_key: int
    job_version: int
    group_name: str
    trigger: int
    principal_key: int
    principal: str
    client_id: str
    params: bytes | None
    nominal_at: int | None
    priority: int
    run_created_at: int
    run_started_at: int | None
    run_state: int
    revision: int
    target_count: int
    open_targets: int
    admission: int
    slot_key: str
    cancelled_by: str
    deadline_at: int | None
    run_cancel_reason: str | None
    run_cancel_message: str | None
    # Who asked for this one's end, and what that is.
    asked_by: str
    cancel_reason: str | None
    cancel_message: str | None


def _query() -> sa.Select[Any]:
    e, r, t = executions.c, runs.c, run_targets.c
    return (
        sa.select(
            e.key, e.id, e.run_key, e.target_index, e.attempt_number, e.retry_of, e.phase, e.route,
            e.agent_key, t.agent_key.label("bound_agent_key"), e.fence, e.losses, e.due_at,
            e.queue_deadline_at, e.created_at, e.started_at, e.cancel_requested_at,
            r.id.label("run_id"), r.job_key, r.job_version, r.group_name, r.trigger,
            r.principal_key, r.principal, r.client_id, r.params, r.nominal_at, r.priority,
            r.created_at.label("run_created_at"), r.started_at.label("run_started_at"),
            r.state.label("run_state"), r.revision, r.target_count, r.open_targets, r.admission,
            r.slot_key, r.cancelled_by, r.deadline_at,
            r.cancel_reason.label("run_cancel_reason"),
            r.cancel_message.label("run_cancel_message"), e.cancelled_by.label("asked_by"),
            e.cancel_reason, e.cancel_message,
        )
        .join(runs, r.key == e.run_key)
        .join(run_targets, sa.and_(t.run_key == e.run_key, t.target_index == e.target_index))
    )  # fmt: skip


def _rows(tx: Tx, query: sa.Select[Any]) -> list[OpenRow]:
    return [OpenRow(**row._asdict()) for row in tx.conn.execute(query)]


def held(tx: Tx) -> list[OpenRow]:
    """Everything that an agent has, or may have."""
    return _rows(tx, _query().where(IS_HELD))


def held_by(tx: Tx, agent_keys: Sequence[int]) -> list[OpenRow]:
    """Everything that these agents have, or may have."""
    return _rows(tx, _query().where(IS_HELD, executions.c.agent_key.in_(agent_keys)))


def ready_routes(tx: Tx) -> list[int]:
    """The routes on which anything is ready."""
    query = sa.select(executions.c.route).where(in_phase(Phase.READY)).distinct()
    return list(tx.conn.execute(query).scalars())


def ready_head(tx: Tx, route: int, limit: int) -> list[OpenRow]:
    """The first of a route, by priority and age."""
    return _rows(
        tx,
        _query()
        .where(in_phase(Phase.READY), executions.c.route == route)
        .order_by(executions.c.priority.desc(), executions.c.key)
        .limit(limit),
    )


def due_retries(tx: Tx, until: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[OpenRow]:
    """Attempts whose delay ends by then, from behind a place (due_at, key)."""
    e = executions.c
    behind = (e.due_at > after[0]) | ((e.due_at == after[0]) & (e.key > after[1]))
    return _rows(
        tx,
        _query()
        .where(in_phase(Phase.RETRY_WAIT), e.due_at <= until, e.due_at >= after[0], behind)
        .order_by(e.due_at, e.key)
        .limit(limit),
    )


def make_ready(tx: Tx, execution_keys: Sequence[int]) -> None:
    """Their delay is over: from now on they wait like any other, deadline and all."""
    tx.conn.execute(
        sa.update(executions)
        .where(executions.c.key.in_(execution_keys), in_phase(Phase.RETRY_WAIT))
        .values(phase=int(Phase.READY))
    )


_ANY_OVERDUE = Prepared(
    lambda sqlite: (
        sa.select(executions.c.key)
        .where(IS_WAITING, executions.c.queue_deadline_at <= sa.bindparam("now"))
        .limit(1)
    )
)


def any_overdue(tx: Tx, now: int) -> bool:
    """Whether `overdue` finds anything: asked every second, and the answer is nearly always no."""
    return bool(_ANY_OVERDUE.run(tx, now=now))


def overdue(tx: Tx, now: int, limit: int) -> list[OpenRow]:
    """What has waited longer than it may."""
    return _rows(
        tx,
        _query()
        .where(IS_WAITING, executions.c.queue_deadline_at <= now)
        .order_by(executions.c.queue_deadline_at)
        .limit(limit),
    )


def of_runs(tx: Tx, run_keys: Iterable[int]) -> list[OpenRow]:
    """Everything open of these runs."""
    found: list[OpenRow] = []
    keys = list(run_keys)
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        found += _rows(
            tx,
            _query().where(executions.c.run_key.in_(part), executions.c.phase != Phase.ENDED),
        )
    return found


def run_deadlines(
    tx: Tx, until: int | None, limit: int, after: tuple[int, int] = (0, 0)
) -> list[tuple[int, int]]:
    """(run, deadline) of open runs that have one, by deadline, from behind a place (deadline, run).

    `until` None: all of them.
    """
    r = runs.c
    behind = (r.deadline_at > after[0]) | ((r.deadline_at == after[0]) & (r.key > after[1]))
    query = (
        sa.select(r.key, r.deadline_at)
        .where(r.deadline_at.is_not(None), r.finished_at.is_(None))
        .where(r.deadline_at >= after[0], behind)
        .order_by(r.deadline_at, r.key)
        .limit(limit)
    )
    if until is not None:
        query = query.where(r.deadline_at <= until)
    return [(row.key, row.deadline_at) for row in tx.conn.execute(query)]


def newest_run(tx: Tx, job_key: int) -> tuple[int, int | None] | None:
    """(key, when it ended) of the job's newest run; None if it never ran."""
    query = (
        sa.select(runs.c.key, runs.c.finished_at)
        .where(runs.c.job_key == job_key)
        .order_by(runs.c.key.desc())
        .limit(1)
    )
    row = tx.conn.execute(query).one_or_none()
    return None if row is None else (row.key, row.finished_at)


def replaced_by(tx: Tx, job_key: int, run_key: int) -> list[int]:
    """The job's open runs that are older than a run of the same concurrency key.

    Among the newest that are: with many keys, what runs longer is found in memory.
    """
    slot_key = tx.conn.scalar(sa.select(runs.c.slot_key).where(runs.c.key == run_key))
    older = (
        sa.select(runs.c.key, runs.c.finished_at, runs.c.slot_key)
        .where(runs.c.job_key == job_key, runs.c.key < run_key)
        .order_by(runs.c.key.desc())
        .limit(REPLACED)
    )
    return [
        row.key
        for row in tx.conn.execute(older)
        if row.finished_at is None and row.slot_key == slot_key
    ]


def newest_waiting(tx: Tx) -> list[tuple[int, int, int, str]]:
    """(job, version, run, key) of the newest run that waits for each limit of each job."""
    waiting = sa.select(slots.c.job_key).where(slots.c.waiting > 0).distinct()
    newest = (
        sa.select(sa.func.max(runs.c.key))
        .where(runs.c.admission == Admission.WAITING, runs.c.job_key.in_(waiting))
        .group_by(runs.c.job_key, runs.c.slot_key)
    )
    columns = (runs.c.job_key, runs.c.job_version, runs.c.key, runs.c.slot_key)
    query = sa.select(*columns).where(runs.c.key.in_(newest))
    return [tuple(row) for row in tx.conn.execute(query)]


def scheduled_not_started(tx: Tx) -> list[tuple[int, int]]:
    """(job, run) of every scheduled run that has not started yet."""
    found: set[tuple[int, int]] = set()
    for phases in (IS_WAITING, IS_HELD):
        query = (
            sa.select(runs.c.job_key, runs.c.key)
            .join(executions, executions.c.run_key == runs.c.key)
            .where(runs.c.trigger == SCHEDULER, runs.c.state == PENDING)
            .where(phases)
        )
        found.update((row.job_key, row.key) for row in tx.conn.execute(query))
    return sorted(found)


def jobs_of_versions(tx: Tx, wanted: Sequence[tuple[int, int]]) -> list[JobRow]:
    """Jobs, also deleted ones, as they were in those versions."""
    found = []
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        query = (
            sa.select(
                jobs.c.key, jobs.c.id, jobs.c.name, jobs.c.group_name, jobs.c.status,
                job_versions.c.spec, job_versions.c.version, jobs.c.revision,
                job_versions.c.trusted, jobs.c.created_at, jobs.c.updated_at, jobs.c.paused_until,
                jobs.c.next_fire_at, jobs.c.next_nominal_at, jobs.c.deleted_at,
            )
            .join(job_versions, job_versions.c.job_key == jobs.c.key)
            .where(sa.tuple_(job_versions.c.job_key, job_versions.c.version).in_(part))
        )  # fmt: skip
        found += [JobRow(**row._asdict(), tags=()) for row in tx.conn.execute(query)]
    return found


def idle_scheduled(tx: Tx) -> list[JobRow]:
    """Jobs that will fire by themselves, but not before something ends: intervals, mostly."""
    query = sa.select(jobs.c.key).where(
        jobs.c.deleted_at.is_(None), jobs.c.next_fire_at.is_(None), jobs.c.status != UNSCHEDULED
    )
    return jobs_by_keys(tx, tx.conn.execute(query).scalars().all())


def request_cancel(
    tx: Tx, run_keys: Sequence[int], execution_keys: Sequence[int], by: str, now: int, *,
    reason: str, message: str,
) -> None:  # fmt: skip
    """Note that somebody wants these to end; who asked first stays on record."""
    tx.conn.execute(
        sa.update(runs)
        .where(runs.c.key.in_(run_keys), runs.c.cancelled_by == "", runs.c.finished_at.is_(None))
        .values(
            cancelled_by=by,
            cancel_reason=reason,
            cancel_message=message,
            revision=runs.c.revision + 1,
        )
    )
    tx.conn.execute(
        sa.update(executions)
        .where(
            executions.c.key.in_(execution_keys),
            executions.c.phase != Phase.ENDED,
            executions.c.cancel_requested_at.is_(None),
        )
        .values(
            cancel_requested_at=now,
            cancelled_by=by,
            cancel_reason=reason,
            cancel_message=message,
        )
    )


def execution_ids_of(tx: Tx, run_id: bytes) -> list[bytes]:
    """The ids of a run's first attempts, in order of its targets."""
    query = (
        sa.select(executions.c.id)
        .join(runs, runs.c.key == executions.c.run_key)
        .where(runs.c.id == run_id, executions.c.attempt_number == 1)
        .order_by(executions.c.target_index)
    )
    return [bytes(raw) for raw in tx.conn.execute(query).scalars()]


def count_waiting(tx: Tx) -> int:
    """Executions that have not started: they wait for an agent, a limit, a delay, an answer."""
    query = sa.select(sa.func.count()).select_from(executions)
    not_started = (IS_WAITING, in_phase(Phase.RETRY_WAIT), in_phase(Phase.ASSIGNED))
    return sum(int(tx.conn.execute(query.where(phase)).scalar() or 0) for phase in not_started)


def slots_are_wrong(tx: Tx) -> bool:
    """Whether any job's slots are counted otherwise than its open runs say."""
    return bool(_wrong_slots(tx, sa.select(slots)))


def recount_slots(tx: Tx) -> list[tuple[int, str, int, int]]:
    """Put every job's slots right; (job, key, active, waiting) of those that were wrong."""
    wrong = _wrong_slots(tx, sa.select(slots).with_for_update())
    for row, right in wrong:
        tx.conn.execute(
            sa.update(slots)
            .where(slots.c.job_key == row.job_key, slots.c.slot_key == row.slot_key)
            .values(active=right[0], waiting=right[1], scheduled_waiting=right[2])
        )
    return [(row.job_key, row.slot_key, row.active, row.waiting) for row, _ in wrong]


def _wrong_slots(tx: Tx, query: sa.Select[Any]) -> list[tuple[Any, tuple[int, int, int]]]:
    """Rows that are wrong, and what they should say."""
    rows = tx.conn.execute(query).all()
    actual = _slots_in_use(tx)
    found = [(row, actual.get((row.job_key, row.slot_key), (0, 0, 0))) for row in rows]
    return [
        (row, right)
        for row, right in found
        if (row.active, row.waiting, row.scheduled_waiting) != right
    ]


def admit_waiting(tx: Tx, job_key: int, limit: Limit) -> list[int]:
    """Let in what waits although there is room; the run keys."""
    found = Slots(tx, [(job_key, limit.key)])
    admitted = found.let_in((job_key, limit.key), limit)
    found.save()
    return admitted


def _slots_in_use(tx: Tx) -> dict[tuple[int, str], tuple[int, int, int]]:
    """(active, waiting, scheduled among these) by job and key, counted over what is open.

    What waits may be a million: it is counted by the store, along the index that has it.
    """
    scheduled = sa.func.sum(sa.case((runs.c.trigger == SCHEDULER, 1), else_=0))
    query = (
        sa.select(runs.c.job_key, runs.c.slot_key, sa.func.count(), scheduled)
        .where(runs.c.admission == sa.literal_column(str(int(Admission.WAITING))))
        .where(runs.c.finished_at.is_(None))
        .group_by(runs.c.job_key, runs.c.slot_key)
    )
    waiting = {(row[0], row[1]): (int(row[2]), int(row[3])) for row in tx.conn.execute(query)}
    active = _active_by_slot(tx)
    return {
        slot_id: (active[slot_id], *waiting.get(slot_id, (0, 0)))
        for slot_id in waiting.keys() | active.keys()
    }


def _active_by_slot(tx: Tx) -> Counter[tuple[int, str]]:
    """Runs that hold a slot: as many as limits let in, so each of them may be looked at."""
    seen: dict[int, tuple[int, str]] = {}
    for phases in (in_phase(Phase.READY), IS_HELD, in_phase(Phase.RETRY_WAIT)):
        query = (
            sa.select(runs.c.key, runs.c.job_key, runs.c.slot_key)
            .join(executions, executions.c.run_key == runs.c.key)
            .where(phases, runs.c.admission == Admission.ACTIVE)
        )
        seen.update((row.key, (row.job_key, row.slot_key)) for row in tx.conn.execute(query))
    return Counter(seen.values())


def jobs_with_history_limit(tx: Tx) -> list[tuple[int, int]]:
    """(job, runs to keep) of jobs that say how many.

    Of all jobs only those are read whose definition holds the field's tag: this is asked again and
    again, and hardly any job says it.
    """
    may = sa.text(MAY_LIMIT_HISTORY[tx.conn.dialect.name])
    query = sa.select(jobs.c.key, jobs.c.spec).where(jobs.c.deleted_at.is_(None), may)
    found = []
    for row in tx.conn.execute(query):
        keep = Job.FromString(row.spec).max_run_history
        if keep:
            found.append((row.key, keep))
    return found
