import hashlib
import os
import signal
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import output
from kronforce_agent.launcher.attempt import STARVED_SECS
from tests.fakes.controller import FakeController, cancel, revoke, shell
from tests.system.agent.conftest import StartAgent
from tests.system.launcher.rig import until

MEGABYTE = 1024 * 1024
STOP = "--stop-tasks"


def runs(pid: int) -> bool:
    """Whether it is there and no zombie (nobody may reap what a dead launcher had)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def run_shell(
    controller: FakeController, start_agent: StartAgent, command: str, **more: object
) -> tuple[pb.Result, tuple[str, int]]:
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell(command), **more)
        result = await session.expect("result", key)
        # What a slow process wrote comes by a stream of its own, not in the result.
        await controller.stored(key, result.stdout_bytes)
        await controller.stored(key, result.stderr_bytes, stream=2)
        return result, key


async def test_an_echo_rides_in_its_result(
    controller: FakeController, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for a loaded machine: that it is short otherwise is not what is tested.
    monkeypatch.setattr(output, "HOLD_SECS", 5.0)
    result, _ = await run_shell(controller, start_agent, "echo hello")
    assert (result.state, result.exit_code) == (ex.EXECUTION_STATE_SUCCEEDED, 0)
    assert [(chunk.stream, chunk.data) for chunk in result.output] == [(1, b"hello\n")]
    assert result.stdout_bytes == 6
    assert controller.output_streams == 0
    assert result.started_at.ToNanoseconds() <= result.finished_at.ToNanoseconds()


async def test_both_streams_keep_their_order(
    controller: FakeController, start_agent: StartAgent
) -> None:
    command = "echo out; sleep 0.02; echo err >&2; sleep 0.02; echo again"
    result, key = await run_shell(controller, start_agent, command)
    stored = controller.output_of(key)
    assert (bytes(stored.streams[1]), bytes(stored.streams[2])) == (b"out\nagain\n", b"err\n")
    assert stored.order == [1, 2, 1]
    assert (result.stdout_bytes, result.stderr_bytes) == (10, 4)


async def test_a_non_zero_exit_fails_with_its_code(
    controller: FakeController, start_agent: StartAgent
) -> None:
    result, _ = await run_shell(controller, start_agent, "exit 7")
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "exit_code")
    assert (result.exit_code, result.message) == (7, "exit 7")


async def test_a_signal_is_named_and_leaves_the_exit_code_unset(
    controller: FakeController, start_agent: StartAgent
) -> None:
    result, _ = await run_shell(controller, start_agent, "kill -KILL $$")
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "signal")
    assert (result.signal, result.message) == (signal.SIGKILL, "killed by SIGKILL")
    assert not result.HasField("exit_code")


async def test_a_background_process_is_killed_after_the_end_and_reported(
    controller: FakeController, start_agent: StartAgent
) -> None:
    result, _ = await run_shell(controller, start_agent, "sleep 3600 >/dev/null 2>&1 & exit 0")
    assert (result.state, result.killed_processes) == (ex.EXECUTION_STATE_SUCCEEDED, 1)


async def test_a_missing_folder_fails_to_start_and_says_so(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell("true", working_dir="/no/such/folder"))
        result = await session.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "start_failed")
    assert "/no/such/folder" in result.message


async def test_an_unknown_user_fails_to_start_and_says_the_way_out(
    controller: FakeController, start_agent: StartAgent
) -> None:
    result, _ = await run_shell(controller, start_agent, "true", run_as="nobody-of-that-name")
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "start_failed")
    assert "nobody-of-that-name" in result.message
    assert "run_as" in result.message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_a_user_without_a_home_folder_starts_at_the_root(
    controller: FakeController, start_agent: StartAgent
) -> None:
    result, key = await run_shell(controller, start_agent, "id -un; pwd", run_as="nobody")
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED, result.message
    assert bytes(controller.output_of(key).streams[1]) == b"nobody\n/\n"


async def test_a_timeout_ends_the_process(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP):
        session = await controller.session()
        assignment = controller.assignment(shell("sleep 3600"))
        assignment.assignment.timeout.FromMilliseconds(200)
        session.send(assignment)
        result = await session.expect("result")
    assert result.state == ex.EXECUTION_STATE_TIMED_OUT
    assert "0.2 s" in result.message


async def test_a_cancel_ends_the_process(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell("echo up; sleep 3600"))
        await controller.stored(key, 3)
        session.send(cancel(key))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_CANCELLED


async def test_a_success_after_a_cancel_stays_a_success(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP):
        session = await controller.session()
        command = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
        (key,) = session.assign(shell(command))
        await controller.stored(key, 3)
        session.send(cancel(key))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED


async def test_a_revoked_process_ends(controller: FakeController, start_agent: StartAgent) -> None:
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell("echo $$; sleep 3600"))
        stored = await controller.stored(key, 2)
        session.send(revoke(key))
        await session.expect("result", key)
    assert not runs(int(stored.streams[1]))


async def test_a_task_sees_the_allowed_environment_and_its_identity_only(
    controller: FakeController, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRONFORCE_JOIN_TOKEN", "secret")
    monkeypatch.setenv("SOMETHING_ELSE", "secret")
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell("env", env={"MINE": "yes"}))
        result = await session.expect("result", key)
        stored = await controller.stored(key, result.stdout_bytes)
    lines = stored.streams[1].decode().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert seen["MINE"] == "yes"
    assert seen["KRONFORCE_EXECUTION_ID"] == key[0]
    assert seen["KRONFORCE_FENCE"] == str(key[1])
    assert seen["KRONFORCE_JOB_NAME"] == "test"
    assert seen["KRONFORCE_AGENT_NAME"] == "tester"
    assert "PATH" in seen
    assert "KRONFORCE_JOIN_TOKEN" not in seen
    assert "SOMETHING_ELSE" not in seen


async def test_output_is_whole_across_a_reconnect_in_mid_run(
    controller: FakeController, start_agent: StartAgent
) -> None:
    size = 8 * MEGABYTE
    async with start_agent(STOP):
        first = await controller.session()
        command = f"yes 0123456789 | head -c {size // 2}; sleep 0.5; yes abc | head -c {size // 2}"
        (key,) = first.assign(shell(command))
        await controller.stored(key, MEGABYTE)
        first.close()
        second = await controller.session(2)
        result = await second.expect("result", key)
        stored = await controller.stored(key, size)
    expected = (b"0123456789\n" * (size // 2))[: size // 2] + (b"abc\n" * size)[: size // 2]
    assert stored.sha256() == hashlib.sha256(expected).hexdigest()
    assert result.stdout_bytes == size
    assert not stored.gaps


async def test_50_mb_of_a_process_arrive_whole(
    controller: FakeController, start_agent: StartAgent
) -> None:
    size = 50 * MEGABYTE
    async with start_agent(STOP):
        session = await controller.session()
        (key,) = session.assign(shell(f"yes 0123456789 | head -c {size}"))
        stored = await controller.stored(key, size)
        result = await session.expect("result", key)
    assert stored.sha256() == hashlib.sha256((b"0123456789\n" * size)[:size]).hexdigest()
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED


async def test_many_short_runs_at_once_all_end(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP, "--slots", "64"):
        session = await controller.session()
        keys = session.assign(*[shell("echo $KRONFORCE_FENCE")] * 64)
        for key in keys:
            result = await session.expect("result", key)
            assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    for key in keys:
        assert bytes(controller.output_of(key).streams[1]) == f"{key[1]}\n".encode()


async def test_a_launcher_that_dies_ends_its_tasks_lost_and_is_replaced(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(STOP) as agent:
        first = await controller.session()
        (key,) = first.assign(shell("echo $$; sleep 3600"))
        stored = await controller.stored(key, 2)
        launcher = agent.launcher
        assert launcher is not None
        os.kill(launcher.pid, signal.SIGKILL)
        second = await controller.session(2)
        result = await controller.condition.until(
            lambda: first.of("result", key) or second.of("result", key), "a result"
        )
        (after,) = second.assign(shell("echo fine"))
        fine = await second.expect("result", after)
    assert (result[0].state, result[0].state_reason) == (ex.EXECUTION_STATE_LOST, "launcher_died")
    assert fine.state == ex.EXECUTION_STATE_SUCCEEDED
    assert second.hello.boot_id != first.hello.boot_id
    assert not runs(int(stored.streams[1]))


async def test_a_stopped_agent_leaves_its_processes_to_the_next_one(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent():
        first = await controller.session()
        (key,) = first.assign(shell("echo up; sleep 0.4; echo done"))
        await controller.stored(key, 3)
    async with start_agent(STOP):
        second = await controller.session(2)
        result = await second.expect("result", key)
        stored = await controller.stored(key, 8)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert bytes(stored.streams[1]) == b"up\ndone\n"
    assert second.hello.boot_id == first.hello.boot_id
    assert [item.execution_id for item in second.hello.inventory.items] == [key[0]]


async def test_a_chatty_task_does_not_wait_for_a_controller_that_is_away(
    controller: FakeController, start_agent: StartAgent, tmp_path: Path
) -> None:
    size, go, done = 20 * MEGABYTE, tmp_path / "go", tmp_path / "done"
    command = (
        f"echo up; until [ -e {go} ]; do sleep 0.02; done; "
        f"yes 0123456789 | head -c {size}; echo; touch {done}"
    )
    async with start_agent(STOP):
        first = await controller.session()
        (key,) = first.assign(shell(command))
        await controller.stored(key, 3)
        await controller.stop()
        go.touch()
        # Less than the time after which the launcher would spool for want of credit.
        await until(done.exists, secs=STARVED_SECS - 5)
        await controller.start()
        second = await controller.session(2)
        result = await second.expect("result", key)
        stored = await controller.stored(key, size + 4)
    expected = b"up\n" + (b"0123456789\n" * size)[:size] + b"\n"
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert not stored.gaps
    assert stored.sha256() == hashlib.sha256(expected).hexdigest()
