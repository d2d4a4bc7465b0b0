"""The ledger of fires, on both stores."""

from dataclasses import replace

import sqlalchemy as sa

from kronforce.api.convert.instants import stamp
from kronforce.api.preview import find_spent
from kronforce.clock import from_us
from kronforce.core import ids
from kronforce.core.access import Role, Scope
from kronforce.core.job_preview import Spent
from kronforce.store import fires, tables
from kronforce.store.fires import Skip
from kronforce.v1.job_pb2 import Job, Schedule
from tests.store.rig import ADMIN
from tests.store.rows import (
    EVERYTHING,
    FIRST,
    NOW,
    OPS,
    SECOND,
    all_pages,
    make_job,
    make_run,
)


def skip(job_key, first, last=None, *, instants=1, reason="overlap", now=NOW):
    last = first if last is None else last
    return Skip(job_key, NOW + first * SECOND, NOW + last * SECOND, instants, reason, now)


def fired(tx, job_key, second):
    at = NOW + second * SECOND
    tx.conn.execute(
        sa.insert(tables.fires).values(
            job_key=job_key, nominal_at=at, until=at, count=1, reason="", run_key=1, run_id=b"r",
            caught_up=False, fired_at=at,
        )
    )  # fmt: skip


def ledger(tx, job_key):
    """Oldest first: seconds from and to, how many, why."""
    rows = fires.list_fires(tx, ADMIN, job_key, page=FIRST).items[::-1]
    return [
        ((row.nominal_at - NOW) // SECOND, (row.until - NOW) // SECOND, row.count, row.reason)
        for row in rows
    ]


def test_neighbours_of_the_same_reason_share_a_row(tx):
    fires.record_skips(tx, [skip(1, 0)])
    fires.record_skips(tx, [skip(1, 1, now=NOW + 5)])
    fires.record_skips(tx, [skip(1, 2, 9, instants=8)])

    assert ledger(tx, 1) == [(0, 9, 10, "overlap")]
    [row] = fires.list_fires(tx, ADMIN, 1, page=FIRST).items
    assert (row.run_id, row.fired_at, row.caught_up) == (None, NOW, False)


def test_another_reason_a_fire_or_another_job_begins_a_new_row(tx):
    fires.record_skips(tx, [skip(1, 0), skip(2, 0)])
    fires.record_skips(tx, [skip(1, 1, reason="window")])
    fired(tx, 1, 2)
    fires.record_skips(tx, [skip(1, 3, reason="window"), skip(2, 3)])

    assert ledger(tx, 1) == [
        (0, 0, 1, "overlap"), (1, 1, 1, "window"), (2, 2, 1, ""), (3, 3, 1, "window"),
    ]  # fmt: skip
    assert ledger(tx, 2) == [(0, 3, 2, "overlap")]


def test_skips_of_one_job_in_one_call_extend_each_other_in_order(tx):
    fires.record_skips(tx, [skip(1, 2), skip(1, 0), skip(1, 1, reason="window"), skip(1, 3)])

    assert ledger(tx, 1) == [(0, 0, 1, "overlap"), (1, 1, 1, "window"), (2, 3, 2, "overlap")]


def test_a_range_before_a_fire_is_noted_although_the_fire_came_first(tx):
    fired(tx, 1, 5)
    fires.record_skips(tx, [skip(1, 0, 4, instants=5, reason="downtime")])

    assert ledger(tx, 1) == [(0, 4, 5, "downtime"), (5, 5, 1, "")]


def test_a_range_after_instants_that_are_about_to_fire_is_a_row_of_its_own(tx):
    fires.record_skips(tx, [skip(1, 0, 4, instants=5)])
    fires.record_skips(tx, [skip(1, 6, 8, instants=3)._replace(apart=True)])
    fires.record_skips(tx, [skip(1, 6, 8, instants=3)._replace(apart=True)])
    fired(tx, 1, 5)

    assert ledger(tx, 1) == [(0, 4, 5, "overlap"), (5, 5, 1, ""), (6, 8, 3, "overlap")]


def test_what_is_noted_already_is_not_counted_again(tx):
    fires.record_skips(tx, [skip(1, 0, 9, instants=10)])
    fires.record_skips(tx, [skip(1, 0, 9, instants=10), skip(1, 9)])
    fired(tx, 2, 0)
    fires.record_skips(tx, [skip(2, 0)])

    assert ledger(tx, 1) == [(0, 9, 10, "overlap")]
    assert ledger(tx, 2) == [(0, 0, 1, "")]


def test_many_jobs_are_noted_in_one_call(tx, monkeypatch):
    monkeypatch.setattr(fires, "_LOOKUP", 2)
    for second in range(2):
        fires.record_skips(tx, [skip(job_key, second) for job_key in range(1, 6)])

    assert [ledger(tx, job_key) for job_key in range(1, 6)] == [[(0, 1, 2, "overlap")]] * 5


def test_the_ledger_is_listed_newest_first_page_by_page(tx):
    for second in range(5):
        fired(tx, 1, second)
    fired(tx, 2, 9)

    rows = all_pages(lambda page: fires.list_fires(tx, ADMIN, 1, page=page), 2)
    recent = fires.list_fires(tx, ADMIN, 1, since=NOW + 3 * SECOND, page=FIRST)

    assert [(row.nominal_at - NOW) // SECOND for row in rows] == [4, 3, 2, 1, 0]
    assert (rows[0].run_id, recent.total) == (b"r", 2)


def test_a_range_that_reaches_into_the_wanted_time_is_shown(tx):
    fires.record_skips(tx, [skip(1, 0, 9, instants=10)])

    assert fires.list_fires(tx, ADMIN, 1, since=NOW + 5 * SECOND, page=FIRST).total == 1


def test_a_run_of_another_group_is_not_named(tx):
    job = make_job(tx, "site", group_name="web")
    for second, group in enumerate(("ops", "web")):
        run = make_run(tx, job, group_name=group)
        at = NOW + second * SECOND
        tx.conn.execute(
            sa.insert(tables.fires).values(
                job_key=job.key, nominal_at=at, until=at, count=1, reason="", run_key=run.key,
                run_id=run.id, caught_up=False, fired_at=at,
            )
        )  # fmt: skip
    web = Scope(principal_id="web", role=Role.VIEWER, groups=frozenset({"web"}))

    rows = fires.list_fires(tx, web, job.key, page=FIRST).items
    assert [bool(row.run_id) for row in rows] == [True, False]
    assert all(row.run_id for row in fires.list_fires(tx, ADMIN, job.key, page=FIRST).items)


def test_a_one_shot_finds_its_own_instant_among_what_fired(tx):
    spec = Job(name="once", schedule=Schedule(one_shot=stamp(NOW)))
    job = make_job(tx, "once", spec=spec.SerializeToString())
    assert find_spent(tx, EVERYTHING, job) is None
    run = make_run(tx, job)
    for nominal, run_key, run_id in ((NOW, run.key, run.id), (NOW + SECOND, None, None)):
        tx.conn.execute(
            sa.insert(tables.fires).values(
                job_key=job.key, nominal_at=nominal, until=nominal, count=1,
                reason="" if run_key else "edited", run_key=run_key, run_id=run_id,
                caught_up=True, fired_at=nominal + SECOND,
            )
        )  # fmt: skip

    found = find_spent(tx, EVERYTHING, job)

    assert found == Spent(
        fired_at=from_us(NOW + SECOND), caught_up=True, run_id=ids.to_text(run.id)
    )
    # A run of a group that the caller does not see is not named.
    assert find_spent(tx, OPS, job) == replace(found, run_id="")
    other = make_job(tx, "cron", spec=Job(schedule=Schedule(cron="@daily")).SerializeToString())
    assert find_spent(tx, EVERYTHING, other) is None
