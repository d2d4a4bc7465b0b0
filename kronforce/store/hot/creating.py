"""New runs: deduplicated, checked against their definition, admitted, assigned, inserted."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kronforce.store.database import Tx
from kronforce.store.dialect import Row
from kronforce.store.fires import record_skips
from kronforce.store.hot import statements as st
from kronforce.store.hot.admission import Slots
from kronforce.store.hot.commands import Created, CreateRun, NewTarget
from kronforce.store.hot.events import skipped_event, triggered_event, unscheduled_event
from kronforce.store.hot.finishing import PENDING, SplitBatch
from kronforce.store.hot.tallies import Tallies
from kronforce.store.tables import Admission, Phase, requests

_SKIPPED = 8
_GONE = frozenset({Created.REPLAYED, Created.REUSED, Created.STALE, Created.NO_RUN})


def deduplicate(tx: Tx, creates: Sequence[CreateRun]) -> None:
    """Take the request ids; those that are taken already get what the first one got."""
    asked = [run for run in creates if run.request_id]
    rows = [
        (run.principal_key, run.request_id, run.request_hash, run.id, run.created_at)
        for run in asked
    ]
    if tx.run(st.INSERT_REQUEST, rows) == len(rows):
        return
    found = _stored_requests(tx, asked)
    for run in asked:
        hash_, resource_id = found[run.principal_key, run.request_id]
        if resource_id != run.id:
            same = hash_ == run.request_hash
            run.outcome = Created.REPLAYED if same else Created.REUSED
            run.resource_id = resource_id


def _stored_requests(
    tx: Tx, asked: Sequence[CreateRun]
) -> dict[tuple[int, str], tuple[bytes, bytes]]:
    by_principal: dict[int, list[str]] = {}
    for run in asked:
        by_principal.setdefault(run.principal_key, []).append(run.request_id)
    found = {}
    for principal_key, ids in by_principal.items():
        query = sa.select(requests).where(
            requests.c.principal_key == principal_key, requests.c.request_id.in_(ids)
        )
        for row in tx.conn.execute(query):
            found[principal_key, row.request_id] = (bytes(row.hash), bytes(row.resource_id))
    return found


def check_definitions(tx: Tx, creates: Sequence[CreateRun]) -> None:
    """A run is made only of the definition that is current in this transaction."""
    current = dict(tx.look_up(st.JOB_REVISIONS, {run.job.key for run in creates}))
    for run in creates:
        if run.outcome is Created.CREATED and current.get(run.job.key) != run.job.revision:
            run.outcome = Created.STALE
    stale = {run.id for run in creates if run.outcome is Created.STALE}
    for run in creates:
        if run.outcome in (Created.REPLAYED, Created.REUSED) and run.resource_id in stale:
            # A copy in this batch of one that makes no run: it is tried again with it.
            run.outcome = Created.STALE


def forget_refused_requests(tx: Tx, creates: Sequence[CreateRun]) -> None:
    """A refused item stores nothing: its request id is free again."""
    for run in creates:
        if run.outcome is Created.STALE and run.request_id:
            tx.conn.execute(
                sa.delete(requests).where(
                    requests.c.principal_key == run.principal_key,
                    requests.c.request_id == run.request_id,
                    requests.c.resource_id == run.id,
                )
            )


def admit(creates: Sequence[CreateRun], slots: Slots) -> dict[int, int]:
    """Judge those whose job has a limit: run key → admission."""
    return {
        run.key: slots.judge(run, run.limit)
        for run in creates
        if run.limit is not None and run.outcome is Created.CREATED
    }


def write_fires(tx: Tx, creates: Sequence[CreateRun], events: list[Row]) -> None:
    """The ledger: a row per fired instant; skipped ones extend their range."""
    fired = [run for run in creates if run.fire_at is not None and run.outcome not in _GONE]
    rows = [
        (run.job.key, run.fire_at, run.fire_at, 1, "", run.key, run.id, run.caught_up,
         run.created_at)
        for run in fired
    ]  # fmt: skip
    if tx.run(st.INSERT_FIRE, rows) != len(rows):
        if len(rows) > 1:
            raise SplitBatch
        fired[0].outcome = Created.NO_RUN
    record_skips(
        tx,
        [
            (run.job.key, run.fire_at, run.fire_at, 1, run.skip_reason, run.created_at)
            for run in creates
            if run.fire_at is not None and run.outcome is Created.NO_RUN and run.skip_reason
        ],
    )
    _advance(tx, creates)
    events += [
        unscheduled_event(run)
        for run in creates
        if run.advance is not None and run.advance.ends and run.outcome is not Created.STALE
    ]


def _advance(tx: Tx, creates: Sequence[CreateRun]) -> None:
    """Move timings on, those that are as they were when they were acted on."""
    advances = [
        run.advance
        for run in creates
        if run.advance is not None and run.outcome is not Created.STALE
    ]
    moved = tx.run(
        st.ADVANCE_JOB,
        [(a.job_key, a.expected, a.next_fire_at, a.next_nominal_at, a.status) for a in advances],
    )
    for advance in advances:
        # One that was not moved is seen in the sum alone.
        advance.applied = moved == len(advances)


def write_runs(
    tx: Tx, creates: Sequence[CreateRun], admissions: dict[int, int], events: list[Row],
    tallies: Tallies,
) -> None:  # fmt: skip
    """Insert what was let through."""
    made = [run for run in creates if run.outcome not in _GONE]
    tx.run(st.INSERT_RUN, [_run_row(run, admissions.get(run.key, 0)) for run in made])
    tx.run(st.SET_RERUN, [(run.key, run.rerun_of) for run in made if run.rerun_of is not None])
    targets = [(run, target) for run in made for target in run.targets]
    tx.run(st.INSERT_TARGET, [_target_row(run, target) for run, target in targets])
    tx.run(st.INSERT_EXECUTION, [_execution_row(run, target) for run, target in targets])
    for run, target in targets:
        events.append(triggered_event(run, target))
        if _is_skipped(run, target):
            events.append(skipped_event(run, target))
            first = target is run.targets[0]
            ended = first and all(_is_skipped(run, each) for each in run.targets)
            tallies.add_skipped(run, whole=ended)
    tx.noted += [run for run in made if run.actor is not None]


def _is_skipped(run: CreateRun, target: NewTarget) -> bool:
    return run.outcome is Created.SKIPPED or bool(target.skip_reason)


def _run_row(run: CreateRun, admission: int) -> Row:
    job = run.job
    open_targets = sum(not _is_skipped(run, target) for target in run.targets)
    ended = open_targets == 0
    reason = run.skip_reason or (run.targets[0].skip_reason if ended else "")
    slot_key = run.limit.key if run.limit is not None else ""
    skipped = open_targets < len(run.targets)
    return (
        run.key, run.id, job.key, job.id, job.name, job.group, job.version,
        _SKIPPED if ended else PENDING,
        "concurrency" if admission == Admission.WAITING else reason, run.trigger,
        run.principal_key, run.principal, run.client_id, run.params, run.fire_at, run.priority,
        run.created_at, run.created_at if ended else None, 1, len(run.targets), open_targets,
        st.RANK[_SKIPPED] if skipped else 0, Admission.RELEASED if ended else admission, slot_key,
        "", "", run.cause_event, run.depth,
    )  # fmt: skip


def _target_row(run: CreateRun, target: NewTarget) -> Row:
    skipped = _is_skipped(run, target)
    reason = target.skip_reason or run.skip_reason
    return (run.key, target.index, target.agent_key, _SKIPPED if skipped else PENDING, reason, 1)


def _execution_row(run: CreateRun, target: NewTarget) -> Row:
    now = run.created_at
    state, reason, phase, agent_key, assigned, finished = PENDING, "", Phase.READY, None, None, None
    if _is_skipped(run, target):
        state, reason, phase, finished = (
            _SKIPPED, target.skip_reason or run.skip_reason, Phase.ENDED, now,
        )  # fmt: skip
    elif run.outcome is Created.WAITING:
        phase = Phase.CONCURRENCY
    elif target.fence > 0:
        phase, agent_key, assigned = Phase.ASSIGNED, target.session.agent_key, now
    return (
        target.execution_key, target.execution_id, run.key, run.job.key, target.index, "", 0, 1,
        None, state, reason, "", phase, run.priority, target.route, agent_key, target.fence, 0, now,
        None, run.queue_deadline_at, assigned, finished, "", 0, 0, 0,
    )  # fmt: skip
