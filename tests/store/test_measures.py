"""What metrics ask of a store: the same however much waits, and the same on both stores."""

import random
from pathlib import Path

import sqlalchemy as sa

from kronforce.store import measures
from kronforce.store.database import reading, writing
from kronforce.store.first_waiting import PRIORITIES, ROUTES
from kronforce.store.jobs import mark_deleted
from kronforce.store.tables import Phase, executions
from tests.store.only_on import ON_POSTGRESQL, ON_SQLITE
from tests.store.rows import NOW, SECOND, make_execution, make_job, make_run


def waiting(tx, run, **values):
    return make_execution(tx, run, phase=Phase.READY, **values)


def test_with_nothing_waiting_there_is_no_oldest(tx):
    run = make_run(tx, make_job(tx, "a"))
    make_execution(tx, run, phase=Phase.RUNNING)
    make_execution(tx, run, phase=Phase.CONCURRENCY, target_index=1)

    assert measures.oldest_ready(tx) is None


def test_the_oldest_is_found_behind_any_route_and_priority(tx):
    run = make_run(tx, make_job(tx, "a"))
    rng = random.Random(5)
    for index in range(300):
        waiting(
            tx, run, target_index=index, route=rng.randint(-9, 9), priority=rng.randint(-2, 2),
            created_at=NOW + index * SECOND,
        )  # fmt: skip
    gone = rng.sample(range(300), 250)
    tx.conn.execute(
        sa.update(executions).where(executions.c.target_index.in_(gone)).values(phase=Phase.RUNNING)
    )

    oldest = min(set(range(300)) - set(gone))
    assert measures.oldest_ready(tx) == NOW + oldest * SECOND


def test_a_retry_waits_since_it_is_due(tx):
    run = make_run(tx, make_job(tx, "a"))
    waiting(tx, run, created_at=NOW, due_at=NOW + 60 * SECOND)

    assert measures.oldest_ready(tx) == NOW + 60 * SECOND


def test_looking_for_the_oldest_ends_whatever_waits(tx):
    run = make_run(tx, make_job(tx, "a"))
    for index in range(PRIORITIES + 10):
        waiting(tx, run, target_index=index, route=1, priority=-index)
    for index in range(ROUTES + 10):
        waiting(tx, run, target_index=1000 + index, route=10 + index)

    assert measures.oldest_ready(tx) == NOW


def test_job_definitions_are_read_by_page_without_deleted_ones(tx):
    rows = [make_job(tx, f"job-{n}", spec=b"%d" % n) for n in range(5)]
    mark_deleted(tx, rows[1].key, NOW)

    first = measures.job_specs(tx, 0, 3)
    rest = measures.job_specs(tx, first[-1][0], 3)

    assert [spec for _, spec in first + rest] == [b"0", b"2", b"3", b"4"]


def test_sizes_are_known(database):
    with reading(database.main) as tx:
        found = measures.measures(tx)

    assert found.size > 10_000
    assert (found.groups, found.oldest_ready) == (1, None)
    assert (
        (found.wal_size is None) is (found.open_transactions is not None) is (not database.sqlite)
    )


@ON_POSTGRESQL
def test_an_open_transaction_is_the_lowest_that_a_snapshot_shows(database, other):
    with other.main.connect() as held:
        number = held.exec_driver_sql("SELECT pg_current_xact_id()::text::bigint").scalar_one()
        with writing(database.main) as tx:
            make_job(tx, "written after it")
        with reading(database.main) as tx:
            xmin, xmax = measures.measures(tx).open_transactions

    assert xmin <= number < xmax


@ON_SQLITE
def test_the_log_is_the_main_files_whatever_else_is_open(database):
    with writing(database.main) as tx:
        make_job(tx, "a")
    with reading(database.main) as tx:
        tx.conn.exec_driver_sql("CREATE TEMP TABLE mine (x)")
        written = measures.measures(tx).wal_size
    path = Path(f"{database.location}-wal")

    assert written == path.stat().st_size > 0
