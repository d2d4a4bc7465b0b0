"""Groups under a running engine: who gets work, what waits follows, history moves on."""

from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from kronforce.engine.agents.changes import Agents
from kronforce.store import groups, tables
from kronforce.store.agents import AgentRow
from kronforce.v1.agent_pb2 import Agent
from kronforce.v1.job_pb2 import AllTarget, Target
from tests.store.rig import ADMIN, FakeAgent, Rig, Someone

ME = Someone()


@pytest.fixture
async def rig(store_url, tmp_path):
    async with rig_on(store_url, tmp_path) as rig:
        yield rig


@asynccontextmanager
async def rig_on(url, folder):
    rig = Rig(url, folder)
    await rig.start()
    try:
        yield rig
    finally:
        await rig.stop()


async def place(rig, name, *names) -> AgentRow:
    """Say which groups' jobs an agent may run."""
    use_cases = Agents(
        store=rig.store,
        clock=rig.clock,
        new_id=rig.new_id,
        directory=rig.engine.directory,
        sessions=rig.engine.sessions,
    )
    return await use_cases.update(ME, name, Agent(allowed_groups=names), ["allowed_groups"])


async def agent(rig, name, *names) -> FakeAgent:
    await rig.enrol(name)
    agent = FakeAgent(rig, await place(rig, name, *names))
    await agent.connect()
    return agent


async def test_an_agent_takes_jobs_of_its_groups_alone(rig):
    ours = await agent(rig, "ours", "web")
    await rig.job("site", group="web")
    await rig.job("db", group="ops")
    waiting = await rig.run("db")
    done = await rig.run("site")
    await rig.ended(done.run_id)

    [attempt] = await rig.attempts(waiting.run_id)
    assert attempt.agent_key is None
    await agent(rig, "theirs", "ops")
    await rig.ended(waiting.run_id)
    assert {m.assignment.job_name for m in ours.got if m.HasField("assignment")} == {"site"}


async def test_what_waits_goes_to_an_agent_whose_groups_grow(rig):
    await agent(rig, "a1", "web")
    await rig.job("db", group="ops")
    waiting = await rig.run("db")

    await place(rig, "a1", "web", "ops")

    assert (await rig.ended(waiting.run_id)).group_name == "ops"


async def test_all_agents_are_those_that_the_groups_allow(rig):
    for name, names in {"free": (), "ours": ("web",), "theirs": ("ops",)}.items():
        await agent(rig, name, *names)
    await rig.job("site", group="web", target=Target(all=AllTarget()))

    made = await rig.run("site")
    await rig.ended(made.run_id)

    names = {row.agent_name for row in await rig.attempts(made.run_id)}
    assert names == {"free", "ours"}


async def history(rig, *names):
    """Whether every run and event of the groups has moved."""

    def look(tx):
        for table in (tables.runs, tables.events):
            query = sa.select(sa.func.count()).where(table.c.group_name.in_(names))
            if tx.conn.scalar(query.select_from(table)):
                return False
        return not groups.pending_renames(tx)

    return await rig.until(lambda: rig.store.read(look))


async def test_what_waits_and_what_runs_follow_a_rename(rig):
    ours = FakeAgent(rig, await rig.enrol("ours"), auto=False, slots=1)
    await ours.connect()
    await rig.job("site", group="web")
    running, waiting = await rig.run("site"), await rig.run("site")
    held = await ours.assignment()
    ours.accept(held)
    await place(rig, "ours", "web")

    await rig.engine.groups.rename(ADMIN, ME, "web", "front")

    assert rig.engine.directory.find("ours").allowed_groups == ("front",)
    ours.finish(held)
    await rig.ended(running.run_id)
    second = await ours.assignment(2)
    ours.accept(second)
    ours.finish(second)
    assert (await rig.ended(waiting.run_id)).group_name == "front"
    third = await rig.run("site")
    ours.finish(await ours.assignment(3))
    assert (await rig.ended(third.run_id)).group_name == "front"
    await history(rig, "web")


async def test_a_new_group_of_an_old_name_gives_its_work_to_nobody_else(rig):
    """Rows that wait keep the number of their route, which the new group's rows get too."""
    await rig.job("site", group="web")
    first = await rig.run("site")
    await rig.engine.groups.rename(ADMIN, ME, "web", "front")
    await history(rig, "web")
    await rig.job("other", group="web")
    second = await rig.run("other")

    await agent(rig, "front only", "front")
    await agent(rig, "web only", "web")
    third = await rig.run("site")
    await rig.ended(third.run_id)
    for waiting in (first, second):
        [attempt] = await rig.attempts(waiting.run_id)
        assert attempt.agent_key is None
    await agent(rig, "both", "front", "web")
    for waiting in (first, second):
        await rig.ended(waiting.run_id)


async def test_a_rename_goes_on_after_a_restart(store_url, tmp_path, monkeypatch):
    async with rig_on(store_url, tmp_path) as rig:
        await rig.job("site", group="web")
        waiting = await rig.run("site")
        # As if it was killed at once: the first transaction alone.
        row = await rig.store.read(groups.find_group, ADMIN, "web")
        await rig.store.write(groups.rename_group, row, "front", rig.clock.now_us())
    async with rig_on(store_url, tmp_path) as rig:
        await agent(rig, "a1", "front")
        assert (await rig.ended(waiting.run_id)).group_name == "front"
        await history(rig, "web")


async def test_moved_jobs_fire_in_their_new_group_and_leave_their_runs(rig):
    await agent(rig, "a1")
    await rig.job("site", group="web")
    before = await rig.run("site")
    await rig.ended(before.run_id)

    assert await rig.engine.groups.assign(ADMIN, ME, ["site"], "ops") == 1
    assert await rig.engine.groups.assign(ADMIN, ME, ["site"], "ops") == 0

    after = await rig.run("site")
    assert (await rig.ended(after.run_id)).group_name == "ops"
    assert (await rig.row(before.run_id)).group_name == "web"
    assert await rig.engine.groups.delete(ADMIN, ME, "ops") == 1
    last = await rig.run("site")
    assert (await rig.ended(last.run_id)).group_name == "Default"
