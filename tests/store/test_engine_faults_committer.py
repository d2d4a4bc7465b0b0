"""When the store fails under a batch: nothing twice, nothing half, nobody left waiting."""

import asyncio
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from kronforce.engine.keys import KeySource
from kronforce.engine.triggering import Triggered
from kronforce.errors import ResourceExhausted, Unavailable
from kronforce.store.database import open_database
from kronforce.store.groups import list_groups
from kronforce.store.hot.commands import CreateRun, Finish
from kronforce.store.tables import events
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.only_on import ON_POSTGRESQL, ON_SQLITE
from tests.store.rig import ADMIN, FakeAgent

SUCCEEDED = 4


class OperationalError(Exception):
    """As the drivers say that the connection is gone."""


async def _true(value):
    return value


def lose_answer(rig, monkeypatch, *, of, committed: bool) -> list[int]:
    """The connection breaks at the COMMIT of the first batch with such a command."""
    main = rig.store.main
    apply, end = main._apply, main._end
    broken: list[int] = []

    def apply_and_see(tx, batch):
        apply(tx, batch)
        if not broken and any(isinstance(command, of) for command in batch):
            broken.append(len(batch))
            monkeypatch.setattr(main, "_end", break_once)

    def break_once(conn):
        monkeypatch.setattr(main, "_end", end)
        if committed:
            end(conn)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(main, "_apply", apply_and_see)
    return broken


@pytest.mark.parametrize("committed", [True, False])
async def test_a_trigger_whose_commit_was_not_answered_makes_one_run(rig, monkeypatch, committed):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    broken = lose_answer(rig, monkeypatch, of=CreateRun, committed=committed)
    outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * 3)
    assert broken
    assert all(isinstance(outcome, Triggered) for outcome in outcomes)
    for outcome in outcomes:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    session = rig.engine.dispatcher.sessions[a.row.key]
    await rig.until(lambda: _true(session.free == session.slots))
    await a.leave()


@pytest.mark.parametrize("committed", [True, False])
async def test_an_end_whose_commit_was_not_answered_is_told_and_followed(
    rig, monkeypatch, committed
):
    await rig.job(retry_max=1, max_concurrent=1)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    run, behind = await rig.run(), await rig.run()
    first = await a.assignment()
    a.accept(first)
    lose_answer(rig, monkeypatch, of=Finish, committed=committed)
    a.finish(first, 5, exit_code=1)
    again = await a.assignment(2)
    assert again.assignment.attempt_number == 2
    a.accept(again)
    a.finish(again)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    last = await a.assignment(3)
    a.accept(last)
    a.finish(last)
    assert (await rig.ended(behind.run_id)).state == SUCCEEDED
    assert (await a.message("acknowledge", 3)).execution_id == last.execution_id
    await a.leave()


@ON_POSTGRESQL
async def test_a_batch_that_nobody_can_vouch_for_is_read_again(rig, monkeypatch):
    await rig.job()
    monkeypatch.setattr(rig.store.main, "_landed", lambda tx, batch: None)
    lose_answer(rig, monkeypatch, of=CreateRun, committed=True)
    (outcome,) = await rig.trigger(TriggerJobRequest(job_id="job", request_id="r1"))
    assert isinstance(outcome, Unavailable)
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    (again,) = await rig.trigger(TriggerJobRequest(job_id="job", request_id="r1"))
    assert again.replayed
    assert (await rig.ended(again.run_id)).state == SUCCEEDED
    await a.leave()


@ON_SQLITE
async def test_a_file_that_fails_at_commit_closes_no_session(rig, monkeypatch):
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    main = rig.store.main

    def full(conn):
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(main, "_end", full)
    with pytest.raises(Unavailable):
        await rig.store.write(lambda tx: 1)
    monkeypatch.undo()
    assert await rig.store.write(lambda tx: 1) == 1
    assert not rig.engine.dispatcher.sessions[a.row.key].closed
    await a.leave()


@ON_SQLITE
async def test_after_a_commit_that_the_file_refuses_everything_goes_on(rig):
    def refused_at_its_commit(tx):
        # As a full disk is told at the last moment: here by a constraint that is looked at then.
        tx.conn.exec_driver_sql("CREATE TABLE parent (key INTEGER PRIMARY KEY)")
        key = "INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED"
        tx.conn.exec_driver_sql(f"CREATE TABLE child (key {key})")
        tx.conn.exec_driver_sql("INSERT INTO child VALUES (1)")

    with pytest.raises(sa.exc.IntegrityError):
        await rig.store.write(refused_at_its_commit)

    assert await rig.store.write(list_groups, ADMIN)


async def test_while_the_store_cannot_be_reached_all_of_a_batch_fails_at_once(rig, monkeypatch):
    await rig.job()
    await rig.engine.snapshots.load(ADMIN, ["job"])
    main = rig.store.main
    connect = main._connect
    tried: list[int] = []

    def refused():
        tried.append(1)
        raise OperationalError("connection refused")

    monkeypatch.setattr(main, "_connect", refused)
    main._disconnect()
    outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * 50)
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert len(tried) < 10
    monkeypatch.setattr(main, "_connect", connect)
    assert isinstance((await rig.trigger(TriggerJobRequest(job_id="job")))[0], Triggered)


async def test_results_land_when_the_store_is_back(rig, monkeypatch):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), auto=False, slots=8)
    await a.connect()
    outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * 16)
    sent = [await a.assignment(nth) for nth in range(1, 9)]
    main = rig.store.main
    connect = main._connect
    tried: list[int] = []

    def refused():
        tried.append(1)
        raise OperationalError("connection refused")

    monkeypatch.setattr(main, "_connect", refused)
    main._disconnect()
    a.auto = True
    for message in sent:
        a.accept(message)
        a.finish(message)
    await rig.until(lambda: _true(len(tried) > 2))
    # Waiting heads are not thrown at a store that is away as fast as the loop turns.
    before = len(tried)
    await asyncio.sleep(1)
    assert len(tried) - before < 50
    assert not [m for m in a.got if m.HasField("acknowledge")]
    monkeypatch.setattr(main, "_connect", connect)
    for outcome in outcomes:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    await a.message("acknowledge", 16)
    kinds = await rig.store.read(_kinds)
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "job.triggered": 16, "execution.started": 16, "execution.completed": 16,
    }  # fmt: skip
    await a.leave()


@ON_POSTGRESQL
async def test_every_connection_may_break_at_any_moment_and_nothing_is_lost(rig, store_url):
    import psycopg  # noqa: PLC0415 -- optional: only tests on PostgreSQL need the driver

    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), slots=16)
    await a.connect()
    made: list[Triggered] = []
    url = urlsplit(store_url)
    admin = url._replace(path="/postgres").geturl()
    for round_ in range(6):
        requests = [
            TriggerJobRequest(job_id="job", request_id=f"{round_}-{index}") for index in range(40)
        ]
        under_way = asyncio.create_task(rig.trigger(*requests))
        await rig.store.wait_commit(rig.store.commits, 0.05)
        with psycopg.connect(admin, autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (url.path[1:],),
            )
        made += await _with_patience(rig, under_way, requests)
    for outcome in made:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    assert len({outcome.run_id for outcome in made}) == 240
    kinds = await rig.store.read(_kinds)
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "job.triggered": 240, "execution.started": 240, "execution.completed": 240,
    }  # fmt: skip
    await a.leave()


async def _with_patience(rig, under_way, requests):
    """As a client does: what is unavailable is asked for again under its request id."""

    async def answered():
        nonlocal under_way
        try:
            outcomes = await under_way
        except Exception:  # noqa: BLE001 - a read broke
            outcomes = []
        if outcomes and all(isinstance(outcome, Triggered) for outcome in outcomes):
            return outcomes
        under_way = asyncio.create_task(rig.trigger(*requests))
        return None

    return await rig.until(answered)


async def test_a_read_from_a_server_that_is_away_says_so():
    database = open_database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        await database.read(_kinds)
    database.close()


async def test_a_batch_holds_no_more_than_its_limit_and_the_rest_follows(rig, monkeypatch):
    await rig.job()
    main = rig.store.main
    monkeypatch.setattr(main, "_max_batch", 4)
    apply, sizes = main._apply, []

    def count(tx, batch):
        sizes.append(len(batch))
        apply(tx, batch)

    monkeypatch.setattr(main, "_apply", count)
    a = FakeAgent(rig, await rig.enrol())
    await a.connect()
    outcomes = await rig.trigger(*[TriggerJobRequest(job_id="job")] * 30)
    for outcome in outcomes:
        assert (await rig.ended(outcome.run_id)).state == SUCCEEDED
    assert max(sizes) == 4
    await a.leave()


async def test_a_hook_that_fails_does_not_stop_the_committer(rig, monkeypatch):
    def broken():
        raise ValueError("broken")

    monkeypatch.setattr(rig.store.main, "before_cut", broken)
    assert await rig.store.write(lambda tx: 7) == 7
    monkeypatch.undo()


async def test_row_keys_run_out_with_a_word_and_come_back(rig):
    keys = KeySource(rig.store)
    with pytest.raises(ResourceExhausted):
        keys()
    await keys.fill()
    first = keys()
    keys._next = keys._end
    with pytest.raises(ResourceExhausted):
        keys()
    assert keys.wants_block
    await keys.fill()
    assert keys() > first


async def test_a_call_that_fails_undoes_itself_alone(rig):
    def broken(tx):
        raise ValueError("broken")

    results = await asyncio.gather(
        rig.store.write(broken), rig.store.write(lambda tx: 1), return_exceptions=True
    )
    assert isinstance(results[0], ValueError)
    assert results[1] == 1
    assert await rig.store.read(list_groups, ADMIN) is not None


def _kinds(tx):
    kinds = tx.conn.execute(sa.select(events.c.kind)).scalars().all()
    return [kind for kind in kinds if not kind.startswith("agent.")]
