"""Whose processes run as the controller's user: those of authors that an admin trusts."""

from dataclasses import replace

import pytest

from kronforce.core.lifecycle import Reason
from kronforce.errors import Unauthenticated
from kronforce.v1.job_pb2 import Job, LocalTarget, ShellTask, Target, Task
from tests.store.rig import FakeAgent

SHELL = Task(shell=ShellTask(command="true"))
LOCAL = Target(local=LocalTarget())


async def agent(rig, name, **fields):
    agent = FakeAgent(rig, await rig.enrol(name, **fields))
    await agent.connect()
    return agent


async def test_the_built_in_agent_is_given_no_process_task_of_an_untrusted_author(rig):
    await agent(rig, "local", built_in=True)
    await rig.job("untrusted", trusted=False, task=SHELL, target=LOCAL)
    await rig.job("trusted", task=SHELL, target=LOCAL)
    await rig.job("no process", trusted=False, target=LOCAL)

    waiting = await rig.run("untrusted")
    for name in ("trusted", "no process"):
        await rig.ended((await rig.run(name)).run_id)

    [attempt] = await rig.attempts(waiting.run_id)
    assert attempt.agent_key is None
    assert rig.engine.reasons.of(attempt) == Reason.LABELS


async def test_another_agent_takes_it(rig):
    await agent(rig, "local", built_in=True)
    spec: Job = await rig.job("untrusted", trusted=False, task=SHELL)
    assert spec.target.HasField("any")
    waiting = await rig.run("untrusted")

    await agent(rig, "elsewhere")

    await rig.ended(waiting.run_id)
    [attempt] = await rig.attempts(waiting.run_id)
    assert attempt.agent_name == "elsewhere"


async def test_an_agent_that_was_deleted_is_told_so_and_what_brings_it_back(rig):
    row = await rig.enrol("gone")
    agent = FakeAgent(rig, replace(row, key=row.key + 1))

    with pytest.raises(Unauthenticated, match="was deleted: it enrols again with a new join token"):
        await agent.serve_once()
