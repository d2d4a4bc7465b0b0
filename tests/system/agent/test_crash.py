"""A real agent process that is killed at the worst moments, and the one that comes after it."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import failpoints
from kronforce_agent.launcher.paths import known_launchers
from tests.fakes.controller import JOIN_TOKEN, FakeController, noop, shell

ROOT = Path(__file__).parents[3]
MEGABYTE = 1024 * 1024

Run = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def run_agent(controller: FakeController, tmp_path: Path) -> AsyncIterator[Run]:
    """Start `python -m kronforce_agent`; whatever still runs at the end is ended with its tasks."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*flags: str, **environ: str) -> asyncio.subprocess.Process:
        paths = os.pathsep.join(str(ROOT / part) for part in ("agent", "."))
        where = ("--address", controller.address, "--name", "tester", "--data-dir", str(tmp_path))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kronforce_agent", *where, *flags),
            env={
                **os.environ,
                "PYTHONPATH": paths,
                "KRONFORCE_JOIN_TOKEN": JOIN_TOKEN,
                **environ,
            },
            stdin=asyncio.subprocess.DEVNULL,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if known_launchers(tmp_path / "agent-tester"):
        last = await run("--stop-tasks")
        sessions = len(controller.sessions)
        await controller.session(sessions + 1)
        last.terminate()
        assert await last.wait() == 0


async def killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_a_killed_agents_process_is_found_again_with_its_output_and_exit_code(
    controller: FakeController, run_agent: Run, tmp_path: Path
) -> None:
    size = 4 * MEGABYTE
    go = tmp_path / "go"
    command = (
        f"yes 0123456789 | head -c {size // 2}; until [ -e {go} ]; do sleep 0.02; done; "
        f"yes abc | head -c {size // 2}; exit 5"
    )
    first_agent = await run_agent()
    first = await controller.session()
    (key,) = first.assign(shell(command))
    await controller.stored(key, MEGABYTE)
    await killed(first_agent)
    go.touch()
    await run_agent()
    second = await controller.session(2)
    result = await second.expect("result", key)
    output = await controller.stored(key, size)
    expected = (b"0123456789\n" * size)[: size // 2] + (b"abc\n" * size)[: size // 2]
    assert output.sha256() == hashlib.sha256(expected).hexdigest()
    assert not output.gaps
    assert (result.state, result.exit_code) == (ex.EXECUTION_STATE_FAILED, 5)
    (item,) = second.hello.inventory.items
    assert (item.execution_id, item.fence) == key
    assert second.hello.boot_id == first.hello.boot_id


async def test_a_result_that_was_not_acknowledged_survives_a_kill(
    controller: FakeController, run_agent: Run
) -> None:
    controller.acknowledge_results = False
    first_agent = await run_agent("--task-types", "noop")
    first = await controller.session()
    (key,) = first.assign(noop(message="kept"))
    before = await first.expect("result", key)
    await killed(first_agent)
    controller.acknowledge_results = True
    await run_agent("--task-types", "noop")
    second = await controller.session(2)
    after = await second.expect("result", key)
    assert before == after
    assert second.hello.inventory.items[0].state == pb.INVENTORY_STATE_FINISHED


async def test_what_ran_inside_a_killed_agent_ends_lost(
    controller: FakeController, run_agent: Run
) -> None:
    first_agent = await run_agent("--task-types", "noop")
    first = await controller.session()
    (key,) = first.assign(noop(sleep_ms=3_600_000))
    await first.expect("accepted", key)
    await killed(first_agent)
    await run_agent("--task-types", "noop")
    second = await controller.session(2)
    result = await second.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_LOST, "agent_restarted")


async def test_killed_between_accept_and_start_it_is_offered_as_never_started(
    controller: FakeController, run_agent: Run, tmp_path: Path
) -> None:
    await run_agent(
        KRONFORCE_TEST_FAILPOINTS="1",
        FAILPOINT="agent.before_start:1:kill",
    )
    first = await controller.session()
    mark = tmp_path / "started"
    assignment = controller.assignment(shell(f"echo x >> {mark}"))
    key = (assignment.execution_id, assignment.fence)
    first.send(assignment)
    await first.closed()
    await run_agent()
    second = await controller.session(2)
    (item,) = second.hello.inventory.items
    second.send(assignment)
    result = await second.expect("result", key)
    assert item.state == pb.INVENTORY_STATE_ACCEPTED
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert mark.read_text() == "x\n"


async def test_killed_before_its_accept_is_durable_it_was_never_taken(
    controller: FakeController, run_agent: Run
) -> None:
    await run_agent(
        "--task-types",
        "noop",
        KRONFORCE_TEST_FAILPOINTS="1",
        FAILPOINT="agent.journal.before_sync:1:kill",
    )
    first = await controller.session()
    first.assign(noop())
    await first.closed()
    await run_agent("--task-types", "noop")
    second = await controller.session(2)
    assert not second.hello.inventory.items
    assert not first.of("accepted")


@pytest.mark.parametrize(
    "point", ["agent.journal.after_sync", "agent.before_report", "agent.before_output"]
)
async def test_killed_with_an_end_in_hand_the_next_agent_reports_it_once(
    controller: FakeController, run_agent: Run, point: str
) -> None:
    nth = 2 if point == "agent.journal.after_sync" else 1
    await run_agent(KRONFORCE_TEST_FAILPOINTS="1", FAILPOINT=f"{point}:{nth}:kill")
    first = await controller.session()
    (key,) = first.assign(shell("yes | head -c 100000"))
    await first.closed()
    await run_agent()
    second = await controller.session(2)
    result = await second.expect("result", key)
    output = await controller.stored(key, 100_000)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert bytes(output.streams[1]) == b"y\n" * 50_000
    assert not first.of("result", key)


async def test_killed_before_hello_nothing_has_happened(
    controller: FakeController, run_agent: Run
) -> None:
    agent = await run_agent(
        "--task-types",
        "noop",
        KRONFORCE_TEST_FAILPOINTS="1",
        FAILPOINT="agent.before_hello:1:kill",
    )
    assert await agent.wait() == -signal.SIGKILL
    await run_agent("--task-types", "noop")
    session = await controller.session()
    (key,) = session.assign(noop())
    await session.expect("result", key)


async def test_agent_and_launcher_killed_together_leave_no_process(
    controller: FakeController, run_agent: Run, tmp_path: Path
) -> None:
    agent = await run_agent()
    first = await controller.session()
    (key,) = first.assign(shell("echo $$; sleep 3600"))
    output = await controller.stored(key, 2)
    (paths,) = known_launchers(tmp_path / "agent-tester")
    launcher = launcher_pid(paths.boot_id)
    await killed(agent)
    os.kill(launcher, signal.SIGKILL)
    await run_agent()
    second = await controller.session(2)
    assert not runs(int(output.streams[1]))
    result = await second.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_LOST, "launcher_died")


async def test_sigterm_leaves_a_process_running_and_exits_zero(
    controller: FakeController, run_agent: Run
) -> None:
    agent = await run_agent()
    session = await controller.session()
    (key,) = session.assign(shell("echo $$; sleep 3600"))
    output = await controller.stored(key, 2)
    agent.terminate()
    assert await agent.wait() == 0
    assert runs(int(output.streams[1]))


async def test_stop_tasks_ends_the_process_and_reports_it(
    controller: FakeController, run_agent: Run
) -> None:
    agent = await run_agent("--stop-tasks")
    session = await controller.session()
    (key,) = session.assign(shell("echo $$; sleep 3600"))
    output = await controller.stored(key, 2)
    agent.send_signal(signal.SIGINT)
    assert await agent.wait() == 0
    assert not runs(int(output.streams[1]))
    assert session.of("result", key)[0].state == ex.EXECUTION_STATE_CANCELLED


async def test_an_agent_that_stood_still_reads_what_came_before_it_calls_anybody_deaf(
    controller: FakeController, run_agent: Run
) -> None:
    controller.lease_secs = 1
    agent = await run_agent("--task-types", "noop")
    session = await controller.session()
    agent.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.5)  # standing still is the failure
    session.send(pb.ControllerMessage(heartbeat=pb.ControllerHeartbeat()))
    await asyncio.sleep(0.1)  # for the bytes to arrive at a process that cannot say so
    agent.send_signal(signal.SIGCONT)
    (key,) = session.assign(noop())
    await session.expect("result", key)
    assert session.open


async def test_a_second_agent_in_the_same_folder_is_refused(
    controller: FakeController, run_agent: Run
) -> None:
    await run_agent("--task-types", "noop")
    await controller.session()
    second = await run_agent("--task-types", "noop")
    assert await second.wait() == 1


async def test_an_agent_without_credential_and_token_says_so_and_ends(
    controller: FakeController, run_agent: Run
) -> None:
    agent = await run_agent("--task-types", "noop", KRONFORCE_JOIN_TOKEN="")
    assert await agent.wait() == 1


async def test_a_refused_join_token_ends_the_agent(
    controller: FakeController, run_agent: Run
) -> None:
    agent = await run_agent("--task-types", "noop", KRONFORCE_JOIN_TOKEN="kfj_wrong.x")
    assert await agent.wait() == 1


async def test_every_failpoint_of_the_agent_is_killed_in_this_file() -> None:
    text = Path(__file__).read_text()  # noqa: ASYNC240 - a test may read itself
    agents = [name for name in failpoints.registered() if not name.startswith("launcher.")]
    assert [name for name in agents if name not in text] == []


def launcher_pid(boot_id: str) -> int:
    """The process that has this launcher's lock open."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and holds(entry, f"{boot_id}.lock"):
            return int(entry.name)
    raise AssertionError(f"no launcher {boot_id}")


def holds(process: Path, name: str) -> bool:
    try:
        return any(fd.readlink().name == name for fd in (process / "fd").iterdir())
    except OSError:
        return False


def runs(pid: int) -> bool:
    """Whether it is there and no zombie (nobody may reap what a dead launcher had)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
