"""Values and secrets of an assignment, from the agent's side: where they go, and where never."""

import base64
from pathlib import Path

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from tests.fakes.controller import FakeController, noop, shell
from tests.system.agent.conftest import StartAgent
from tests.system.launcher.rig import until

STOP = "--stop-tasks"
SECRET = b"hunter2-\xc3\xbc$(id)'\" x"
MASK = b"********"


def given(**values: bytes) -> list[pb.AssignmentValue]:
    return [pb.AssignmentValue(name=name, value=value) for name, value in values.items()]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_values_are_in_the_environment_alone_and_come_byte_for_byte(
    controller: FakeController, start_agent: StartAgent
) -> None:
    command = (
        "printf %s \"${KF_V1}\" | od -An -tx1 | tr -d ' \\n'; "
        "tr '\\0' ' ' < /proc/$$/cmdline | grep -c '[b]ytes'; "
        "grep -c '^KF_V1=byte' /proc/$$/environ"
    )
    value = b"bytes \xc3\xa9 \xff\xfe '\"$(id)\n"
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell(command), values=given(KF_V1=value))
        await session.expect("result", key)
    out = bytes(controller.output_of(key).streams[1]).decode().split("\n")
    assert out[0] == value.hex() + "0"


async def test_secrets_are_masked_in_both_streams_wherever_they_are_cut(
    controller: FakeController, start_agent: StartAgent
) -> None:
    command = (
        'v=$KF_V1; printf %s "${v%%er2*}"; sleep 0.05; printf "%s\\n" "${v#hunt}"; '
        'printf "%s\\n" "$v" >&2; printf %s "$v" | base64'
    )
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell(command), values=given(KF_V1=SECRET), secrets=[SECRET])
        result = await session.expect("result", key)
    streams = controller.output_of(key).streams
    assert bytes(streams[1]) == MASK + b"\n" + MASK + b"\n"
    assert bytes(streams[2]) == MASK + b"\n"
    assert (result.stdout_bytes, result.stderr_bytes) == (18, 9)


async def test_what_a_task_inside_the_agent_says_is_masked(
    controller: FakeController, start_agent: StartAgent
) -> None:
    text = SECRET.decode()
    async with start_agent(STOP):
        session = await controller.session()
        short, long = session.assign(
            noop(message=f"<{text}>"), noop(message=text, sleep_ms=5), secrets=[SECRET]
        )
        results = [await session.expect("result", key) for key in (short, long)]
    written = [bytes(controller.output_of(key).streams[1]) for key in (short, long)]
    assert written == [b"<" + MASK + b">\n", MASK + b"\n"]
    assert [result.stdout_bytes for result in results] == [11, 9]


async def test_an_error_that_quotes_a_secret_is_masked(
    controller: FakeController, start_agent: StartAgent
) -> None:
    tasks = (
        shell("true", working_dir="/nowhere/hunter22"),
        shell("true", working_dir="hunter22/sub"),
    )
    async with start_agent(STOP):
        session = await controller.session()
        keys = session.assign(*tasks, secrets=[b"hunter22"])
        results = [await session.expect("result", key) for key in keys]
    assert all(result.state_reason == "start_failed" for result in results)
    assert all("hunter22" not in result.message for result in results)
    assert "'/nowhere/********'" in results[0].message


async def test_masks_outlive_the_agent_and_disk_sees_nothing_else(
    controller: FakeController, start_agent: StartAgent, tmp_path: Path
) -> None:
    """The agent goes, the task floods the spool with secrets, another agent brings it all in."""
    go = tmp_path / "go"
    command = (
        f"echo up; until [ -e {go} ]; do sleep 0.02; done; "
        'i=0; while [ $i -lt 400 ]; do printf "%08000d%s|" 0 "$KF_V1"; i=$((i+1)); done'
    )
    folder = tmp_path / "agent-tester"
    async with start_agent():
        session = await controller.session()
        (key,) = session.assign(shell(command), values=given(KF_V1=SECRET), secrets=[SECRET])
        await controller.stored(key, 3)
    go.touch()
    await until(lambda: [path for path in files_below(folder) if path.suffix == ".out"] or None)
    await until(lambda: sum(path.stat().st_size for path in files_below(folder)) > 1_500_000)
    spooled = b"".join(path.read_bytes() for path in files_below(folder))

    async with start_agent(STOP):
        session = await controller.session(2)
        result = await session.expect("result", key)

    assert spooled.count(MASK) > 100
    for form in (SECRET, b"hunter2-", base64.b64encode(SECRET)):
        assert form not in spooled
    expected = b"up\n" + (b"0" * 8000 + MASK + b"|") * 400
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert bytes(controller.output_of(key).streams[1]) == expected
    assert result.stdout_bytes == len(expected)
