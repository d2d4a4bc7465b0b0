"""A run is run again: all of it, or what did not succeed; and what is kept of a job's runs."""

from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from google.protobuf.struct_pb2 import Struct

from kronforce.core.access import Role, Scope
from kronforce.core.ids import from_text
from kronforce.core.lifecycle import State
from kronforce.engine.triggering import RETRY, Triggered
from kronforce.errors import (
    JobNotFound,
    NothingToRerun,
    OutsideWindow,
    RequestIdReused,
    RunNotFound,
)
from kronforce.store import jobs, output, tables
from kronforce.v1 import job_pb2
from kronforce.v1.job_service_pb2 import RerunRunRequest
from tests.store.rig import ADMIN, FakeAgent, Someone
from tests.store.rows import NOW

OTHERS = Scope(principal_id="others", role=Role.OPERATOR, groups=frozenset({"others"}))
ALL = job_pb2.Target(all=job_pb2.AllTarget())


@asynccontextmanager
async def agent(rig, name="a1", **fields):
    found = FakeAgent(rig, await rig.enrol(name), **fields)
    await found.connect()
    yield found
    await found.leave()


def params(**values):
    made = Struct()
    made.update(values)
    return made


async def rerun(rig, run, scope=ADMIN, **fields):
    request = RerunRunRequest(run_id=run.run_id, **fields)
    outcome = await rig.engine.rerunning.rerun(scope, Someone(), request)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def test_a_run_is_run_again_with_its_params(rig):
    await rig.job()
    async with agent(rig):
        first = await rig.run(params=params(day="today"))
        await rig.ended(first.run_id)
        again = await rerun(rig, first, client_id="me")
        row = await rig.ended(again.run_id)
    assert isinstance(again, Triggered)
    assert again.message().rerun_of == first.run_id
    assert (row.state, row.trigger, row.client_id) == (State.SUCCEEDED, RETRY, "me")
    assert row.rerun_of == from_text(first.run_id)
    assert Struct.FromString(row.params) == params(day="today")


async def test_other_params_take_the_place_of_all(rig):
    await rig.job()
    first = await rig.run(params=params(day="today", hour=1))
    again = await rerun(rig, first, params=params(day="tomorrow"))
    row = await rig.row(again.run_id)
    assert Struct.FromString(row.params) == params(day="tomorrow")


async def test_only_targets_that_did_not_succeed_run_again_on_their_agents(rig):
    await rig.job(target=ALL)
    async with (
        agent(rig, "a1"),
        agent(rig, "a2", auto=False, boot="c") as bad,
        agent(rig, "a3", boot="d"),
    ):
        first = await rig.run()
        assignment = await bad.assignment()
        bad.accept(assignment)
        bad.finish(assignment, State.FAILED, exit_code=1)
        await rig.ended(first.run_id)
        again = await rerun(rig, first, failed_targets_only=True)
        assignment = await bad.assignment(2)
        bad.accept(assignment)
        bad.finish(assignment)
        row = await rig.ended(again.run_id)
    assert (row.state, row.target_count) == (State.SUCCEEDED, 1)
    (attempt,) = await rig.attempts(again.run_id)
    assert attempt.agent_name == "a2"


async def test_a_target_that_was_free_to_choose_chooses_anew(rig):
    await rig.job()
    async with agent(rig, "a1", auto=False) as bad:
        first = await rig.run()
        assignment = await bad.assignment()
        bad.accept(assignment)
        bad.finish(assignment, State.FAILED, exit_code=1)
        await rig.ended(first.run_id)
    async with agent(rig, "a2", boot="c"):
        again = await rerun(rig, first, failed_targets_only=True)
        assert (await rig.ended(again.run_id)).state == State.SUCCEEDED


async def test_an_agent_that_is_gone_is_left_out(rig):
    row = await rig.enrol("a1")
    await rig.job(target=ALL)
    first = await rig.run()
    await rig.engine.cancelling.cancel_run(ADMIN, first.run_id, Someone(), "")
    rig.engine.directory.remove(row.key)
    again = await rerun(rig, first, failed_targets_only=True)
    assert (await rig.row(again.run_id)).state_reason == "no_agent"


async def test_where_all_succeeded_there_is_nothing_to_run_again(rig):
    await rig.job()
    async with agent(rig):
        first = await rig.run()
        await rig.ended(first.run_id)
    with pytest.raises(NothingToRerun):
        await rerun(rig, first, failed_targets_only=True)


async def test_a_target_that_is_still_open_has_not_failed(rig):
    await rig.job()
    first = await rig.run()
    with pytest.raises(NothingToRerun):
        await rerun(rig, first, failed_targets_only=True)


async def test_a_request_id_makes_one_rerun_and_is_no_triggers(rig):
    await rig.job()
    first = await rig.run(request_id="t")
    one = await rerun(rig, first, request_id="r")
    same = await rerun(rig, first, request_id="r")
    assert (same.run_id, same.replayed) == (one.run_id, True)
    for taken, fields in (("t", {}), ("r", {"params": params(a=1)})):
        with pytest.raises(RequestIdReused):
            await rerun(rig, first, request_id=taken, **fields)


async def test_a_run_out_of_scope_and_one_that_never_was_look_alike(rig):
    await rig.job(group="ops")
    first = await rig.run()
    with pytest.raises(RunNotFound):
        await rerun(rig, first, scope=OTHERS)
    first = Triggered(
        run_id="nonsense", execution_ids=(), replayed=False, warnings=(), command=None
    )
    with pytest.raises(RunNotFound):
        await rerun(rig, first)


async def test_a_job_that_is_gone_or_outside_its_window_is_refused(rig):
    closed = job_pb2.Job()
    closed.starts_at.GetCurrentTime()
    closed.starts_at.seconds += 3_600
    await rig.job("later", starts_at=closed.starts_at)
    first = await rig.run("later", force=True)
    with pytest.raises(OutsideWindow):
        await rerun(rig, first)
    assert (await rerun(rig, first, force=True)).run_id
    row = await rig.row(first.run_id)
    await rig.store.write(jobs.mark_deleted, row.job_key, rig.clock.now_us())
    rig.engine.snapshots.forget(row.job_key)
    with pytest.raises(JobNotFound):
        await rerun(rig, first, force=True)


async def test_clearing_keeps_the_newest_run_and_those_that_are_open(rig):
    await rig.job()
    waiting = await rig.run()
    ended = [await rig.run() for _ in range(12)]
    for run in ended:
        await rig.engine.cancelling.cancel_run(ADMIN, run.run_id, Someone(), "")
    job = await rig.store.read(jobs.find_job, ADMIN, "job")

    assert await rig.engine.retention.clear(ADMIN, job, Someone()) == (11, False)

    left = [run for run in [waiting, *ended] if await rig.row(run.run_id) is not None]
    assert left == [waiting, ended[-1]]
    assert await rig.engine.retention.clear(ADMIN, job, Someone()) == (0, False)


async def test_output_goes_before_its_run_and_a_half_done_batch_is_finished_later(rig):
    await rig.job()
    runs = [await rig.run() for _ in range(3)]
    for run in runs:
        await rig.engine.cancelling.cancel_run(ADMIN, run.run_id, Someone(), "")
    keys = [(await rig.attempts(run.run_id))[0].key for run in runs]
    await rig.store.write_output(_put_output, keys)
    # As if the controller had been killed between the two steps of a batch.
    while await rig.store.write_output(output.delete_output, keys[:1], 100):
        pass
    job = await rig.store.read(jobs.find_job, ADMIN, "job")

    assert await rig.engine.retention.clear(ADMIN, job, Someone()) == (2, False)

    left = await rig.store.read_output(output.progress_of, keys)
    assert list(left) == keys[2:]
    assert await rig.store.read_output(output.read_chunks, keys[1], 0, 1_000) == []
    assert len(await rig.store.read_output(output.read_chunks, keys[2], 0, 1_000)) == 1


def _put_output(tx, keys):
    for number, key in enumerate(keys, 1):
        chunk = {"execution_key": key, "stream": 1, "start": 0, "length": 2, "sequence": 1}
        values = {"key": number, "at": NOW, "data": b"ok", **chunk}
        tx.conn.execute(sa.insert(tables.output_chunks).values(values))
        progress = {"sequence": 1, "stdout_bytes": 2, "stderr_bytes": 0, "stored_bytes": 2}
        values = {"execution_key": key, "dropped_bytes": 0, **progress}
        tx.conn.execute(sa.insert(tables.output_progress).values(values))


async def test_a_job_keeps_as_many_runs_as_it_says(rig):
    await rig.job("few", max_run_history=2)
    await rig.job("all")
    async with agent(rig):
        few = [await rig.run("few") for _ in range(15)]
        many = [await rig.run("all") for _ in range(3)]
        for run in few + many:
            await rig.ended(run.run_id)
    assert await rig.engine.retention.round() == 13
    kept = [run for run in few if await rig.row(run.run_id) is not None]
    assert kept == few[-2:]
    assert all([await rig.row(run.run_id) is not None for run in many])
