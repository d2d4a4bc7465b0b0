"""Failure 28: a job that takes its launcher with it is run three times and no more."""

import os
import signal

from kronforce.v1.execution_pb2 import ExecutionState
from tests.system.failures.jobs import ended, fire, outcome, wrote
from tests.system.rig.cluster import Cluster, patient, until

RUNNING = ExecutionState.EXECUTION_STATE_RUNNING


async def test_a_poison_job_ends_quarantined_after_three_losses_and_stays_active(
    running: Cluster,
) -> None:
    # What a task that takes the machine down does, as far as the launcher can tell.
    command = "echo on; kill -9 $PPID; sleep 60"
    run_id = await fire(running, "poison", command, delivery="at_least_once")
    run = await ended(running, run_id)
    assert outcome(run) == ("lost", "quarantined")
    assert [execution.attempt_number for execution in run.executions] == [1, 2, 3]
    fences = [execution.fence for execution in run.executions]
    assert fences == sorted(set(fences))
    job = await running.client.jobs.get("poison")
    assert (await running.client.jobs.trigger(job.id)).run.id


async def test_the_same_job_with_the_default_delivery_runs_once(running: Cluster) -> None:
    run = await ended(running, await fire(running, "poison", "kill -9 $PPID; sleep 60"))
    assert outcome(run) == ("lost", "launcher_died")
    assert len(run.executions) == 1


async def test_a_loss_that_was_to_be_cancelled_is_not_run_again(embedded: Cluster) -> None:
    run_id = await fire(
        embedded,
        "wanted",
        "trap '' TERM; echo on; sleep 60; sleep 60",
        delivery="at_least_once",
        kill_grace_secs=60,
    )
    await wrote(embedded, run_id, 3)
    await embedded.client.runs.cancel(run_id)
    (launcher,) = embedded.launchers()
    os.kill(launcher, signal.SIGKILL)
    run = await ended(embedded, run_id)
    assert outcome(run)[0] in ("lost", "cancelled")
    assert len(run.executions) == 1


async def test_no_execution_is_left_running_by_a_launcher_that_died(embedded: Cluster) -> None:
    for number in range(5):
        await fire(embedded, f"held{number}", "echo on; sleep 60")

    async def all_running() -> bool:
        page = await embedded.client.executions.page(state=RUNNING)
        return len(page.executions) == 5

    await until(patient(all_running), "five executions to run")
    (launcher,) = embedded.launchers()
    os.kill(launcher, signal.SIGKILL)

    async def none_running() -> bool:
        page = await embedded.client.executions.page(state=RUNNING)
        return not page.executions

    await until(patient(none_running), "every execution to be lost", 20.0)
