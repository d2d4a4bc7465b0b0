"""The example of an agent on the bare stubs does what its first lines say."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from tests.fakes.controller import JOIN_TOKEN, FakeController, cancel, noop, shell

EXAMPLE = Path(__file__).parents[3] / "examples" / "agents" / "custom_agent.py"
LINES = 100


@pytest.fixture
async def running(controller: FakeController) -> AsyncIterator[FakeController]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env={
            **os.environ,
            "PYTHONPATH": str(EXAMPLE.parents[2]),
            "KRONFORCE_ADDRESS": controller.address,
            "KRONFORCE_JOIN_TOKEN": JOIN_TOKEN,
        },
    )
    yield controller
    assert process.returncode is None
    process.kill()
    await process.wait()


async def test_it_runs_noop_and_shell_and_reports_inline(running: FakeController) -> None:
    session = await running.session()
    quiet, failing, echo = session.assign(noop(), noop(exit_code=3), shell("echo hello"))
    assert (await session.expect("result", quiet)).state == ex.EXECUTION_STATE_SUCCEEDED
    assert (await session.expect("result", failing)).exit_code == 3
    result = await session.expect("result", echo)
    assert result.output[0].data == b"hello\n"
    assert running.registrations[0].name == "custom"


async def test_it_rejects_what_it_does_not_understand(running: FakeController) -> None:
    session = await running.session()
    session.send(pb.ControllerMessage(execution_id="e", fence=2, assignment=pb.Assignment()))
    assert (await session.expect("rejected", ("e", 2))).reason == pb.REJECT_REASON_UNSUPPORTED


async def test_it_cancels_a_process(running: FakeController) -> None:
    session = await running.session()
    (key,) = session.assign(shell("sleep 3600"))
    await session.expect("accepted", key)
    session.send(cancel(key))
    assert (await session.expect("result", key)).state == ex.EXECUTION_STATE_CANCELLED


async def test_it_comes_back_with_an_inventory_and_reports_again(running: FakeController) -> None:
    running.acknowledge_results = False
    first = await running.session()
    ended, runs = first.assign(noop(), noop(sleep_ms=3_600_000))
    await first.expect("result", ended)
    await first.expect("accepted", runs)
    first.close()
    second = await running.session(2)
    await second.expect("result", ended)
    states = {item.execution_id: item.state for item in second.hello.inventory.items}
    assert states == {
        ended[0]: pb.INVENTORY_STATE_FINISHED,
        runs[0]: pb.INVENTORY_STATE_RUNNING,
    }


def test_it_stays_below_a_hundred_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < LINES


async def test_it_hands_values_to_the_command(running: FakeController) -> None:
    session = await running.session()
    value = pb.AssignmentValue(name="KF_V1", value=b"a $(b) 'c'")
    (key,) = session.assign(shell('printf %s "${KF_V1}"'), values=[value])
    assert (await session.expect("result", key)).output[0].data == b"a $(b) 'c'"
