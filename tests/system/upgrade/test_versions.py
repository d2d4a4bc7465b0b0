"""Rows 22 and 33: an earlier version's agent, client and store with this version's controller."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kronforce_client import ClientError
from tests.system.checker.history import stream_of
from tests.system.failures.jobs import ended, fire, outcome, read, shell, wrote
from tests.system.rig.cluster import ADMIN_KEY, until
from tests.system.rig.earlier import MixedCluster, environment_of, mixed_cluster
from tests.system.rig.processes import clean_environment
from tests.system.rig.tasks import printing

SIZE, PARTS = 400_000, 40

# What a script of then does, with the client of then.
SCRIPT = """
import asyncio, json, sys, kronforce_client
from kronforce_client import AsyncClient, ClientError

async def main(address, key):
    client = AsyncClient(address, key)
    job = {"name": "from then", "target": {"type": "any"}, "task": {"type": "noop"}}
    made = await client.jobs.create(job)
    run_id = (await client.jobs.trigger("from then")).run.id
    while not (run := await client.runs.get(run_id)).HasField("finished_at"):
        await asyncio.sleep(0.05)
    try:
        await client.jobs.get("no such job")
    except ClientError as error:
        refused = type(error).__name__
    names = [each.name async for each in client.jobs.list()]
    listed = [each.id async for each in client.runs.list()]
    await client.close()
    print(json.dumps([kronforce_client.__file__, run.state, refused, names, run_id in listed]))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def mixed(tmp_path: Path) -> AsyncIterator[MixedCluster]:
    async with mixed_cluster(tmp_path) as made:
        yield made


async def start_earlier_agent(mixed: MixedCluster) -> None:
    mixed.earlier = True
    await mixed.start_agent()
    mixed.earlier = False


async def test_an_earlier_agent_works_for_this_controller_and_is_replaced_in_the_middle_of_it(
    mixed: MixedCluster,
) -> None:
    await mixed.start_controller()
    await start_earlier_agent(mixed)
    long = await fire(mixed, "long", printing(SIZE, parts=PARTS, pause_secs=0.1))
    failed = await ended(mixed, await fire(mixed, "failing", "exit 3"))
    sleeper = await fire(mixed, "cancelled", "sleep 60", kill_grace_secs=1)
    await mixed.client.runs.cancel(sleeper)
    await wrote(mixed, long, SIZE // PARTS)

    # Its launcher, of then, goes on, and answers to the agent of now.
    await mixed.agents["one"].stop()
    await mixed.start_agent()

    run, cancelled = await ended(mixed, long), await ended(mixed, sleeper)
    again = await ended(mixed, await fire(mixed, "after", "echo after"))
    (execution,) = run.executions
    output = await read(mixed, execution.id)
    assert outcome(run) == outcome(again) == ("succeeded", "")
    assert (outcome(failed)[0], failed.executions[0].exit_code) == ("failed", 3)
    assert outcome(cancelled)[0] == "cancelled"
    assert output.sha256 == hashlib.sha256(stream_of(execution.id, SIZE)).hexdigest()
    assert output.gaps == 0
    assert mixed.complaints() == []


async def test_an_earlier_client_works_with_this_controller(mixed: MixedCluster) -> None:
    await mixed.start_controller()
    await mixed.start_agent()

    said = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT, mixed.address, ADMIN_KEY],
        env=clean_environment() | environment_of(mixed.place),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert said.returncode == 0, said.stderr
    where, state, refused, names, listed = json.loads(said.stdout)
    assert where.startswith(str(mixed.place))
    assert (state, refused, names, listed) == (4, "NotFound", ["from then"], True)
    assert mixed.complaints() == []


async def test_the_controller_is_replaced_under_load_and_every_run_ends_once(
    mixed: MixedCluster,
) -> None:
    mixed.earlier = True
    await mixed.start_controller()
    await mixed.start_agent()
    mixed.earlier = False
    await mixed.client.jobs.create(shell("short", "true"))
    long = await fire(mixed, "long", printing(SIZE, parts=PARTS, pause_secs=0.1))
    load = Load(mixed)
    loading = asyncio.create_task(load.run())
    await wrote(mixed, long, SIZE // PARTS)
    await load.has(3)

    assert mixed.controller is not None
    await mixed.controller.stop()
    replaced = await mixed.start_controller()

    await load.has(len(load.run_ids) + 3)
    load.stopped = True
    await loading
    run = await ended(mixed, long)
    others = [await ended(mixed, each) for each in load.run_ids]
    output = await read(mixed, run.executions[0].id)
    assert "before-upgrade-from" in replaced.tail(100_000)
    assert len(set(load.run_ids)) == load.asked
    assert {outcome(each) for each in (run, *others)} == {("succeeded", "")}
    assert [len(each.executions) for each in (run, *others)] == [1] * (1 + load.asked)
    assert output.sha256 == hashlib.sha256(stream_of(run.executions[0].id, SIZE)).hexdigest()
    assert output.gaps == 0


class Load:
    """One trigger after the other, each asked until it is answered."""

    def __init__(self, mixed: MixedCluster) -> None:
        self._mixed = mixed
        self.run_ids: list[str] = []
        self.asked = 0
        self.stopped = False

    async def run(self) -> None:
        while not self.stopped:
            self.asked += 1
            self.run_ids.append(await until(self._triggered, "a trigger to be answered"))

    async def _triggered(self) -> str | None:
        try:
            reply = await self._mixed.client.jobs.trigger("short", request_id=f"r{self.asked}")
        except ClientError:
            return None
        return reply.run.id

    async def has(self, count: int) -> None:
        async def there() -> bool:
            return len(self.run_ids) >= count

        await until(there, f"{count} runs")
