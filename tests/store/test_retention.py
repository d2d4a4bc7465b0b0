"""Forgetting, on both stores: in bounded steps, whole, and nothing that still lives."""

import sqlalchemy as sa

from kronforce.store import events, fires, jobs, output, requests, retention, tables
from kronforce.store.events import NewEvent
from tests.store.rig import ADMIN
from tests.store.rows import (
    DAY,
    FIRST,
    NOW,
    SECOND,
    make_execution,
    make_job,
    make_run,
    make_target,
)

RUN_TABLES = ("runs", "run_targets", "executions", "inline_output", "evidence", "fires")


def count(tx, table):
    return tx.conn.scalar(sa.select(sa.func.count()).select_from(table))


def counts(tx):
    return {name: count(tx, tables.metadata.tables[name]) for name in RUN_TABLES}


def make_whole_run(tx, job, *, finished_at, nominal_at):
    """Insert a run with a row in each table that may hang on it."""
    run = make_run(tx, job, finished_at=finished_at, nominal_at=nominal_at)
    make_target(tx, run)
    execution = make_execution(tx, run)
    data = {"execution_key": execution.key, "data": b"o"}
    tx.conn.execute(sa.insert(tables.inline_output).values(data))
    report = {"execution_id": execution.id, "fence": 1, "at": NOW, "report": b"r"}
    tx.conn.execute(sa.insert(tables.evidence).values(report))
    tx.conn.execute(
        sa.insert(tables.fires).values(
            job_key=job.key, nominal_at=nominal_at, until=nominal_at, count=1, reason="",
            run_key=run.key, run_id=run.id, caught_up=False, fired_at=NOW,
        )
    )  # fmt: skip
    return run, execution


def test_a_run_goes_with_everything_that_hangs_on_it(tx):
    job = make_job(tx, "j")
    old, attempt = make_whole_run(tx, job, finished_at=NOW - DAY, nominal_at=NOW - DAY)
    make_whole_run(tx, job, finished_at=NOW, nominal_at=NOW)
    assert output.get_inline(tx, attempt.key) == b"o"

    keys = retention.finished_before(tx, NOW)

    assert keys == [old.key]
    assert retention.executions_of(tx, keys) == [attempt.key]
    assert retention.delete_runs(tx, keys) == 1
    assert counts(tx) == dict.fromkeys(RUN_TABLES, 1)
    assert output.get_inline(tx, attempt.key) is None
    assert retention.finished_before(tx, NOW) == []


def test_a_run_that_has_not_ended_is_never_removed(tx):
    run = make_run(tx, make_job(tx, "j"), created_at=NOW - 999 * DAY)

    assert retention.finished_before(tx, NOW) == []
    assert retention.delete_runs(tx, [run.key]) == 0
    assert count(tx, tables.runs) == 1


def test_runs_go_oldest_first_in_bounded_steps(tx):
    job = make_job(tx, "j")
    keys = [make_run(tx, job, finished_at=NOW - number * SECOND).key for number in range(1, 6)]

    assert retention.finished_before(tx, NOW, limit=2) == [keys[4], keys[3]]


def test_a_job_keeps_its_newest_runs_and_at_least_one(tx):
    job, other = make_job(tx, "j"), make_job(tx, "other")
    ended = [make_run(tx, job, finished_at=NOW).key for _ in range(4)]
    make_run(tx, other, finished_at=NOW)

    assert retention.beyond_history(tx, job.key, 2, scope=ADMIN) == ended[:2]
    assert retention.beyond_history(tx, job.key, 0, scope=ADMIN) == ended[:3]
    assert retention.beyond_history(tx, job.key, 9, scope=ADMIN) == []
    assert retention.beyond_history(tx, job.key, 1, limit=1, scope=ADMIN) == ended[:1]
    running = make_run(tx, job).key
    assert running not in retention.beyond_history(tx, job.key, 1, scope=ADMIN)


def test_events_go_in_bounded_steps_and_the_newest_stays(tx):
    at = NOW - DAY
    rows = [
        NewEvent(kind="job.created", severity=1, at=at + n, message=str(n), actor="a")
        for n in range(5)
    ]
    events.insert_events(tx, rows)

    removed = [retention.delete_events(tx, NOW, limit=3) for _ in range(3)]

    assert removed == [3, 1, 0]
    [left] = tx.conn.execute(sa.select(tables.events)).all()
    assert left.message == "4"


def test_request_ids_outlive_the_runs_by_seven_days(tx):
    for request_id, age in (("fresh", 6), ("stale", 8), ("older", 9)):
        requests.claim_request(
            tx, principal_key=1, request_id=request_id, hash=b"h", resource_id=b"r",
            now=NOW - age * DAY,
        )  # fmt: skip

    assert [retention.delete_requests(tx, NOW, limit=1) for _ in range(3)] == [1, 1, 0]
    assert tx.conn.scalars(sa.select(tables.requests.c.request_id)).all() == ["fresh"]


def test_skipped_instants_go_by_age_and_fires_with_their_runs(tx):
    job = make_job(tx, "j")
    make_whole_run(tx, job, finished_at=NOW, nominal_at=NOW - 3 * DAY)
    fires.record_skips(tx, [(job.key, NOW - 2 * DAY, NOW - DAY, 9, "window", NOW)])
    fires.record_skips(tx, [(job.key, NOW - DAY // 2, NOW + DAY, 9, "overlap", NOW)])

    assert retention.delete_skips(tx, NOW) == 1
    left = fires.list_fires(tx, ADMIN, job.key, page=FIRST).items
    assert [row.reason for row in left] == ["overlap", ""]


def test_a_deleted_job_goes_when_its_last_run_has_gone(tx):
    job, kept = make_job(tx, "j"), make_job(tx, "kept")
    run = make_run(tx, job, finished_at=NOW - DAY)
    jobs.mark_deleted(tx, job.key, NOW - DAY)

    assert retention.delete_jobs(tx, NOW) == 0
    retention.delete_runs(tx, [run.key])
    assert retention.delete_jobs(tx, NOW - 2 * DAY) == 0
    assert retention.delete_jobs(tx, NOW) == 1
    assert tx.conn.scalars(sa.select(tables.jobs.c.key)).all() == [kept.key]
    assert tx.conn.scalars(sa.select(tables.job_versions.c.job_key)).all() == [kept.key]
