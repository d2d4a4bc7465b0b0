"""Whose variables a run gets whose job was moved, or whose group was renamed, meanwhile."""

import pytest

from kronforce.store import groups, jobs
from kronforce.v1.job_pb2 import Task
from tests.store.rig import ADMIN, FakeAgent, Rig, Someone
from tests.store.test_values_in_runs import get, make

TASK = Task(noop={"message": "{{TOKEN}}"})


async def given(rig):
    """What an agent that comes now gets for the run that waits."""
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    try:
        return (await get(agent)).task.noop.message
    finally:
        await agent.leave()


async def move(rig, name, group):
    row = await rig.store.read(jobs.find_job, ADMIN, name)
    await rig.store.write(groups.ensure_group, group, 1)
    await rig.store.write(groups.move_jobs, [row.key], group, 1)
    rig.engine.snapshots.forget(row.key)


async def test_a_run_that_waits_has_its_groups_variables_after_a_rename(rig):
    await rig.job(task=TASK, group="web")
    await make(rig, "TOKEN", "hunter22", secret=True, allowed_groups=("web",))
    await rig.run()
    await rig.engine.groups.rename(ADMIN, Someone(), "web", "front")
    assert await given(rig) == "hunter22"


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_of_one_group_gets_no_secret_of_the_group_that_its_job_went_to(
    rig, store_url, tmp_path, restart
):
    await rig.job(task=TASK, group="web")
    await make(rig, "TOKEN", "hunter22", secret=True, allowed_groups=("ops",))
    await rig.run()
    await move(rig, "job", "ops")
    if not restart:
        assert await given(rig) == "{{TOKEN}}"
        return
    await rig.stop()
    again = Rig(store_url, tmp_path)
    await again.start()
    try:
        await again.engine.variables.refresh()
        assert await given(again) == "{{TOKEN}}"
    finally:
        await again.stop()
