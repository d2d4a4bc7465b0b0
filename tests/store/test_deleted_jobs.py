"""What waits of a deleted job ends `cancelled`, whoever leaves or stops in the middle of it."""

import asyncio

import pytest

from kronforce.core.lifecycle import State
from kronforce.engine import deleted_jobs
from kronforce.store import jobs as job_store
from tests.store.rig import ADMIN, FakeAgent, Rig

WAITING = 7


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Have it take several turns."""
    monkeypatch.setattr(deleted_jobs, "AT_ONCE", 2)


async def waiting(rig, **fields):
    """Runs that wait for an agent that is not there, of a job that is deleted now."""
    await rig.job(**fields)
    runs = [(await rig.run()).run_id for _ in range(WAITING)]
    return runs, await delete(rig)


async def delete(rig):
    """Of the job, its row alone: what waits of it is another transaction's."""
    row = await rig.store.read(job_store.find_job, ADMIN, "job")
    await rig.store.write(
        job_store.mark_deleted, row.key, rig.clock.now_us(), expected_revision=row.revision
    )
    return row.key


async def states(rig, runs):
    return [(await rig.row(run_id)).state for run_id in runs]


async def all_cancelled(rig, runs):
    async def look():
        return await states(rig, runs) == [State.CANCELLED] * len(runs)

    await rig.until(look)
    assert {(await rig.row(run_id)).cancel_message for run_id in runs} == {"its job was deleted"}


async def test_it_goes_on_where_whoever_asked_for_it_leaves(rig):
    runs, job_key = await waiting(rig)
    asked = asyncio.create_task(rig.engine.deleted_jobs.cancel_waiting(job_key, "ci"))
    await asyncio.sleep(0)
    asked.cancel()
    await all_cancelled(rig, runs)


@pytest.mark.parametrize("fields", [{}, {"max_concurrent": 1}], ids=["unlimited", "limited"])
async def test_it_goes_on_after_a_restart_and_none_of_it_starts(rig, store_url, tmp_path, fields):
    agent = FakeAgent(rig, await rig.enrol())
    runs, _ = await waiting(rig, **fields)
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    back = FakeAgent(other, agent.row)
    await back.connect()
    await all_cancelled(other, runs)
    assert not [message for message in back.got if message.HasField("assignment")]
    await back.leave()
    await other.stop()


async def test_what_has_started_of_it_runs_on_after_a_restart(rig, store_url, tmp_path):
    agent = FakeAgent(rig, await rig.enrol(slots=1), slots=1, auto=False)
    await agent.connect()
    await rig.job()
    first = (await rig.run()).run_id
    agent.accept(await agent.assignment())

    async def started():
        return (await rig.row(first)).state == State.RUNNING

    await rig.until(started)
    later = (await rig.run()).run_id
    await delete(rig)
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    await all_cancelled(other, [later])
    assert await states(other, [first]) == [State.RUNNING]
    await other.stop()
