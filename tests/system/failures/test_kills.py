"""Failures 1 to 9 by hand: each process killed while a task runs, and output whole afterwards."""

import hashlib
import os
import signal
from pathlib import Path

from tests.system.checker.history import stream_of
from tests.system.failures.jobs import ended, fire, outcome, read, wrote
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.tasks import printing

SIZE = 4_000_000
PARTS = 40


def hash_of(execution_id: str) -> str:
    return hashlib.sha256(stream_of(execution_id, SIZE)).hexdigest()


async def test_a_task_outlives_two_kills_of_the_controller_with_its_output_whole(
    running: Cluster,
) -> None:
    run_id = await fire(running, "long", printing(SIZE, parts=PARTS, pause_secs=0.1))
    await wrote(running, run_id, SIZE // PARTS)
    for _ in range(2):
        assert running.controller is not None
        await running.controller.kill()
        await running.start_controller()
    run = await ended(running, run_id)
    (execution,) = run.executions
    output = await read(running, execution.id)
    assert outcome(run) == ("succeeded", "")
    assert (output.sha256, output.gaps) == (hash_of(execution.id), 0)


async def test_a_task_that_ends_while_the_controller_is_away_is_told_of_afterwards(
    running: Cluster, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    command = f"{printing(SIZE, parts=4, pause_secs=0.1)}; touch {done}; exit 7"
    run_id = await fire(running, "away", command)
    await wrote(running, run_id, 1)
    assert running.controller is not None
    await running.controller.kill()

    async def over() -> bool:
        return done.exists()

    await until(over, "the task to end by itself")
    await running.start_controller()
    run = await ended(running, run_id)
    output = await read(running, run.executions[0].id)
    assert (outcome(run), run.executions[0].exit_code) == (("failed", "exit_code"), 7)
    assert (output.sha256, output.gaps) == (hash_of(run.executions[0].id), 0)


async def test_a_killed_agent_finds_its_task_again_and_its_output_is_whole(
    running: Cluster,
) -> None:
    run_id = await fire(running, "kept", printing(SIZE, parts=PARTS, pause_secs=0.1))
    await wrote(running, run_id, SIZE // PARTS)
    await running.agents["one"].kill()
    await running.start_agent()
    run = await ended(running, run_id)
    (execution,) = run.executions
    output = await read(running, execution.id)
    assert outcome(run) == ("succeeded", "")
    assert (output.sha256, output.gaps) == (hash_of(execution.id), 0)


async def test_everything_killed_at_once_but_the_launcher_loses_nothing(
    running: Cluster,
) -> None:
    run_id = await fire(running, "both", printing(SIZE, parts=PARTS, pause_secs=0.1))
    await wrote(running, run_id, SIZE // PARTS)
    assert running.controller is not None
    await running.controller.kill()
    await running.agents["one"].kill()
    await running.start_controller()
    await running.start_agent()
    run = await ended(running, run_id)
    output = await read(running, run.executions[0].id)
    assert outcome(run) == ("succeeded", "")
    assert (output.sha256, output.gaps) == (hash_of(run.executions[0].id), 0)


async def test_a_killed_launcher_means_lost_and_no_process_left(embedded: Cluster) -> None:
    run_id = await fire(embedded, "gone", "echo $$; sleep 3617")
    execution = await wrote(embedded, run_id, 2)
    (launcher,) = embedded.launchers()
    os.kill(launcher, signal.SIGKILL)
    run = await ended(embedded, run_id)
    pid = int((await embedded.client.executions.get(execution.id)).stdout)
    assert outcome(run) == ("lost", "launcher_died")
    assert not runs(pid)


async def test_agent_and_launcher_killed_together_mean_lost_before_the_next_work(
    embedded: Cluster,
) -> None:
    run_id = await fire(embedded, "gone", "echo $$; setsid sleep 3617 & sleep 3617")
    await wrote(embedded, run_id, 2)
    (launcher,) = embedded.launchers()
    await embedded.agents["one"].kill()
    os.kill(launcher, signal.SIGKILL)
    await embedded.start_agent()
    run = await ended(embedded, run_id)
    after = await ended(embedded, await fire(embedded, "after", "pgrep -f 'sleep 361[7]'"))
    assert outcome(run) == ("lost", "launcher_died")
    assert outcome(after) == ("failed", "exit_code")


async def test_a_cancel_that_the_agent_missed_is_told_when_it_is_back(embedded: Cluster) -> None:
    run_id = await fire(embedded, "missed", "echo $$; sleep 3617", kill_grace_secs=0)
    await wrote(embedded, run_id, 2)
    await embedded.agents["one"].kill()
    await embedded.client.runs.cancel(run_id)
    await embedded.start_agent()
    run = await ended(embedded, run_id)
    assert outcome(run)[0] == "cancelled"


def runs(pid: int) -> bool:
    """Whether it is there and no zombie: here nobody does what init would do."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
