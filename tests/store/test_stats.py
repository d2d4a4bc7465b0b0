"""Statistics on both stores: exactly what is stored, whatever became of it and of its row."""

import importlib
import random
from collections import Counter
from contextlib import suppress

import pytest
import sqlalchemy as sa

from kronforce.api.in_flight import InFlight
from kronforce.core.lifecycle import State
from kronforce.core.size_classes import class_of
from kronforce.core.stat_windows import (
    DAY,
    DAY_US,
    HOUR,
    HOUR_US,
    LENGTH_US,
    MINUTE,
    MINUTE_US,
    Window,
    all_days,
    days_until,
    kept_from,
)
from kronforce.engine.metrics.metrics import Metrics
from kronforce.errors import AlreadyTerminal
from kronforce.store import retention, stats, stats_folding
from kronforce.store.database import reading, writing
from kronforce.store.jobs import mark_deleted
from kronforce.store.tables import Subject, past_jobs, stats_added
from kronforce.store.tables import stats as stats_table
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import job_pb2
from kronforce.v1.job_pb2 import AllTarget, Target
from tests.store.counted import both, counted, kept
from tests.store.rig import ADMIN, FakeAgent, Someone
from tests.store.rows import (
    EVERYTHING,
    FIRST,
    NOW,
    OPS,
    SECOND,
    make_agent,
    make_execution,
    make_job,
    make_run,
)

migration = importlib.import_module("kronforce.store.migrations.main.m0006_stats")

NO_SUMS = {"runs": 0, "started": 0, "busy_us": 0, "longest_us": 0, "waits": 0, "wait_us": 0}


def add(tx, at=NOW, *, job=1, agent=None, group="Default", state=4, took=None, runs=1, **sums):
    """What a batch adds for one execution."""
    started = {} if took is None else {"started": 1, "busy_us": took, "longest_us": took}
    row = {
        "at": at - at % MINUTE_US, "job_key": job, "agent_key": agent, "group_name": group,
        "state": state, "size": class_of(took or 0), "executions": 1, **NO_SUMS, "runs": runs,
        **started, **sums,
    }  # fmt: skip
    tx.conn.execute(sa.insert(stats_added).values(row))


def fold(tx, now=NOW):
    while stats_folding.fold(tx, now):
        pass


async def mixed_load(rig, rng, count=60):
    """Runs that end in every way there is for a caller, on two agents."""
    agents = [
        FakeAgent(rig, await rig.enrol(name), auto=False, slots=50) for name in ("one", "two")
    ]
    for agent in agents:
        await agent.connect()
    await rig.job("plain", group="web")
    await rig.job("retried", retry_max=1)
    await rig.job("everywhere", target=Target(all=AllTarget()))
    await rig.job("single", concurrency_policy=job_pb2.CONCURRENCY_POLICY_FORBID)
    runs = [
        (await rig.run(rng.choice(("plain", "retried", "everywhere", "single")))).run_id
        for _ in range(count)
    ]
    for run_id in rng.sample(runs, count // 6):
        with suppress(AlreadyTerminal):
            await rig.engine.cancelling.cancel_run(ADMIN, run_id, Someone(), "")
    done = Counter()

    async def finished():
        for agent in agents:
            assignments = [m for m in agent.got if m.HasField("assignment")]
            for each in assignments[done[agent] :]:
                agent.accept(each)
                agent.finish(each, rng.choice((4, 4, 4, 5, 6, 7)))
            done[agent] = len(assignments)
        return not rig.engine.table.by_key

    await rig.until(finished)
    for agent in agents:
        await agent.leave()


@pytest.mark.parametrize("seed", [1, 2])
async def test_sums_are_those_of_what_is_stored(rig, seed):
    await mixed_load(rig, random.Random(seed))

    def compare(tx):
        fold(tx, rig.clock.now_us())
        return counted(tx), kept(tx)

    expected, found = await rig.store.write(compare)
    assert found == expected
    states = {key[5] for key in found}
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED} <= states


async def test_metrics_say_the_same(rig):
    metrics = Metrics(
        engine=rig.engine,
        store=rig.store,
        clock=rig.clock,
        calls=CallCounts(),
        under_way=InFlight(rig.clock),
        version="1",
    )
    await mixed_load(rig, random.Random(3), 30)
    await rig.store.write(both)

    days = await rig.store.read(stats.timeline, EVERYTHING, all_days(rig.clock.now_us()))
    [sums] = days.values()
    text = (await metrics.text()).decode()
    for family, counts in (("executions", sums.executions), ("runs", sums.runs)):
        for state, count in counts.items():
            word = State(state).word
            assert f'kronforce_{family}_total{{status="{word}"}} {float(count)}' in text


async def test_a_migration_fills_in_what_batches_would_have_added(rig, database):
    await mixed_load(rig, random.Random(4))

    def begin_anew(tx):
        fold(tx, rig.clock.now_us())
        by_batches = kept(tx)
        tx.conn.execute(sa.delete(stats_table))
        tx.conn.exec_driver_sql(migration._fill_in().replace("%", "%" if tx.sqlite else "%%"))
        fold(tx, rig.clock.now_us())
        return by_batches, kept(tx)

    by_batches, filled_in = await rig.store.write(begin_anew)
    assert filled_in == by_batches


def test_each_row_counts_once_however_small_the_steps(tx):
    for number in range(25):
        add(tx, NOW + number * MINUTE_US, took=number * SECOND, agent=1)
    steps = []
    while gone := stats_folding.fold(tx, NOW + DAY_US, 4):
        steps.append(gone)

    assert sum(steps) == 25
    assert max(steps) == 4
    [sums] = stats.timeline(tx, EVERYTHING, days_until(NOW + 25 * MINUTE_US, 2)).values()
    assert sums.executions == {4: 25}
    assert (sums.busy_us, sums.longest_us) == (300 * SECOND, 24 * SECOND)
    assert not stats_folding.has_added(tx)


def test_two_controllers_that_fold_at_once_count_nothing_twice(database, other):
    with writing(database.main) as tx:
        for _ in range(6):
            add(tx)
    for each in (database, other):
        with writing(each.main) as tx:
            stats_folding.fold(tx, NOW, 4)
    with reading(database.main) as tx:
        found = stats.timeline(tx, EVERYTHING, days_until(NOW, 1))
    assert [sums.runs for sums in found.values()] == [{4: 6}]


def test_what_is_told_late_makes_no_buckets_that_are_gone(tx):
    add(tx, NOW - 9 * DAY_US)
    fold(tx)
    assert {key[0] for key in kept(tx)} == {DAY}


def test_old_buckets_are_forgotten_level_by_level(tx):
    for ago in (0, 4 * HOUR_US, 10 * DAY_US, 399 * DAY_US):
        # As if each had been folded in its time.
        add(tx, NOW - ago)
        fold(tx, NOW - ago)
    before = {level: {key[1] for key in kept(tx) if key[0] == level} for level in LENGTH_US}
    assert {level: len(found) for level, found in before.items()} == {MINUTE: 4, HOUR: 4, DAY: 3}

    for level in LENGTH_US:
        while stats_folding.delete_buckets(tx, kept_from(level, NOW), 1, level=level):
            pass

    after = Counter(key[0] for key in kept(tx) if key[2] == Subject.GROUP)
    assert after == {MINUTE: 1, HOUR: 2, DAY: 3}
    assert stats.first_day(tx) == NOW - 399 * DAY_US - (NOW - 399 * DAY_US) % DAY_US


def test_a_key_sees_the_numbers_of_its_groups_alone(tx):
    ops, web = make_job(tx, "ours", group_name="ops"), make_job(tx, "theirs", group_name="web")
    agent = make_agent(tx, "a1")
    add(tx, job=ops.key, agent=agent.key, group="ops", took=SECOND)
    add(tx, job=web.key, agent=agent.key, group="web", took=9 * SECOND)
    fold(tx)
    day = days_until(NOW, 1)

    [sums] = stats.timeline(tx, OPS, day).values()
    assert (sums.runs, sums.busy_us) == ({4: 1}, SECOND)
    assert [row.name for row in stats.list_jobs(tx, OPS, day, order=1, page=FIRST).items] == [
        "ours"
    ]
    assert [row.name for row in stats.list_groups(tx, OPS, day, FIRST).items] == ["ops"]
    [load] = stats.list_agents(tx, OPS, day, FIRST).items
    assert (load.name, load.sums.busy_us) == ("a1", SECOND)


def test_an_agent_kept_for_other_groups_is_not_listed(tx):
    agent = make_agent(tx, "theirs", allowed_groups=("web",))
    add(tx, agent=agent.key, group="ops", took=SECOND)
    fold(tx)
    assert stats.list_agents(tx, OPS, days_until(NOW, 1), FIRST).items == []


@pytest.mark.parametrize(
    ("order", "names"),
    [
        (1, ["often", "slow", "bad"]),
        (2, ["bad", "slow"]),
        (3, ["slow", "often"]),
        (4, ["slow", "often"]),
        (5, ["often", "slow"]),
    ],
)
def test_jobs_are_listed_by_what_they_have_most_of(tx, order, names):
    often, slow, bad = (make_job(tx, name) for name in ("often", "slow", "bad"))
    for _ in range(20):
        add(tx, job=often.key, took=SECOND)
    for state in (State.SUCCEEDED, State.TIMED_OUT, State.CANCELLED):
        add(tx, job=slow.key, took=5 * SECOND, state=state)
    for state in (State.FAILED, State.LOST):
        add(tx, job=bad.key, state=state)
    fold(tx)

    day = days_until(NOW, 1)
    found, page = [], FIRST.__class__(size=1)
    while page is not None:
        part = stats.list_jobs(tx, EVERYTHING, day, order=order, page=page)
        found += [row.name for row in part.items]
        assert part.total == len(names)
        page = part.next_after and FIRST.__class__(size=1, after=part.next_after)
    assert found == names


def test_a_deleted_job_keeps_its_name_when_its_row_is_gone(tx):
    job = make_job(tx, "gone")
    add(tx, job=job.key)
    fold(tx)
    mark_deleted(tx, job.key, NOW - DAY_US)

    def listed():
        [row] = stats.list_jobs(tx, EVERYTHING, days_until(NOW, 1), order=1, page=FIRST).items
        return row.name, row.id, row.deleted

    assert listed() == ("gone", job.id, True)
    assert retention.delete_jobs(tx, NOW) == 1
    assert listed() == ("gone", job.id, True)
    assert stats_folding.delete_past_jobs(tx, NOW) == 0
    assert stats_folding.delete_past_jobs(tx, NOW + 1) == 1
    assert tx.conn.scalar(sa.select(sa.func.count()).select_from(past_jobs)) == 0


def test_a_renamed_group_takes_its_numbers_along_into_those_of_its_new_name(tx):
    for group in ("old", "old", "new"):
        add(tx, job=7, agent=3, group=group, took=SECOND)
    fold(tx)
    before = kept(tx)

    for bucket in stats_folding.buckets_of(tx, "old", NOW):
        stats_folding.rename_in_bucket(tx, bucket, "old", "new")

    after = kept(tx)
    assert {key[4] for key in after} == {"new"}
    assert all(sums[0] == 3 and sums[3] == 3 * SECOND for sums in after.values())
    assert len(before) == 2 * len(after)


def test_days_are_those_of_what_is_stored_by_hand_too(tx):
    job = make_job(tx, "a")
    run = make_run(tx, job, state=4, finished_at=NOW, started_at=NOW - SECOND)
    make_execution(
        tx, run, phase=0, state=4, attempt_number=1, created_at=NOW - 3 * SECOND,
        started_at=NOW - SECOND, finished_at=NOW,
    )  # fmt: skip
    tx.conn.exec_driver_sql(migration._fill_in().replace("%", "%" if tx.sqlite else "%%"))
    fold(tx)
    assert kept(tx) == counted(tx)


QUESTIONS = {
    "a timeline": lambda tx, w: stats.timeline(tx, EVERYTHING, w),
    "a job's timeline": lambda tx, w: stats.timeline(
        tx, EVERYTHING, w, stats.StatFilter(job_key=5)
    ),
    "some groups' timeline": lambda tx, w: stats.timeline(tx, OPS, w),
    "the first day": lambda tx, w: stats.first_day(tx),
    "jobs": lambda tx, w: stats.list_jobs(tx, EVERYTHING, w, order=2, page=FIRST),
    "agents": lambda tx, w: stats.list_agents(tx, OPS, w, FIRST),
    "groups": lambda tx, w: stats.list_groups(tx, OPS, w, FIRST),
    "old buckets": lambda tx, w: stats_folding.delete_buckets(tx, NOW, level=HOUR),
    "a group's buckets": lambda tx, w: stats_folding.buckets_of(tx, "web", NOW),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_runs_or_every_bucket(database, question):
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    window = Window(level=HOUR, since=NOW - 5 * HOUR_US, count=5)
    with writing(database.main) as tx:
        if not database.sqlite:
            tx.conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        add(tx)
        fold(tx)
        sa.event.listen(database.main, "before_cursor_execute", note)
        QUESTIONS[question](tx, window)
        sa.event.remove(database.main, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN " if tx.sqlite else "EXPLAIN "
        plans = [
            row[-1].strip()
            for statement, parameters in asked
            for row in tx.conn.exec_driver_sql(explain + statement, parameters)
        ]
    assert asked
    for table in ("stats", "runs", "executions"):
        whole = [line for line in plans if line.startswith(f"SCAN {table}")]
        assert whole + [line for line in plans if f"Seq Scan on {table} " in line] == []
