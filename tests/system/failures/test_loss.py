"""Failures 9 to 11 and 31: agents that stay away, processes that stand still."""

import asyncio
import os
from pathlib import Path

from tests.system.failures.jobs import ended, fire, outcome, wrote
from tests.system.failures.test_trees import nobody_left, with_mark
from tests.system.rig.cluster import Cluster, until

# The contract's least; the rescuer looks every second.
LOST_AFTER_SECS = 30
STILL_SECS = 5.0


async def test_what_an_absent_agent_held_is_lost_and_run_elsewhere_and_the_old_attempt_is_ended(
    embedded: Cluster,
) -> None:
    mark = f"away-{os.urandom(8).hex()}"
    first = embedded.folder / "first"
    # Runs for ever where it was started first, and ends at once where it is run again.
    command = f"export M={mark}; echo on; [ -e {first} ] && exit 0; touch {first}; sleep 3600"
    run_id = await fire(
        embedded,
        "again",
        command,
        delivery="at_least_once",
        lost_after_secs=LOST_AFTER_SECS,
        kill_grace_secs=1,
    )
    await wrote(embedded, run_id, 3)
    await embedded.agents["one"].kill()
    await embedded.start_agent("two")
    run = await ended(embedded, run_id, LOST_AFTER_SECS + 20.0)
    old, new = run.executions
    assert outcome(run) == ("succeeded", "")
    assert (old.state_reason, old.agent_name, new.agent_name) == ("agent_lost", "one", "two")
    assert new.fence > old.fence
    # Its launcher lives and held the process all the time.
    assert with_mark(mark)
    await embedded.start_agent("one")
    await nobody_left(mark)
    again = await embedded.client.runs.get(run_id)
    assert outcome(again) == ("succeeded", "")


async def test_processes_that_stand_still_for_a_while_lose_nothing(running: Cluster) -> None:
    go = running.folder / "go"
    command = f"echo on; until [ -e {go} ]; do sleep 0.05; done"
    run_id = await fire(running, "still", command)
    await wrote(running, run_id, 3)
    assert running.controller is not None
    for process in (running.controller, running.agents["one"]):
        with process.frozen():
            # The fault itself: so long it lasts.
            await asyncio.sleep(STILL_SECS)
    go.touch()
    run = await ended(running, run_id)
    assert outcome(run) == ("succeeded", "")
    assert len(run.executions) == 1


async def test_a_task_goes_on_at_its_pace_while_the_controller_is_away(
    embedded: Cluster, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    run_id = await fire(embedded, "pace", f"echo on; yes | head -c 20000000; touch {done}")
    await wrote(embedded, run_id, 3)
    assert embedded.controller is not None
    await embedded.controller.kill()

    async def over() -> bool:
        return done.exists()

    # Well below the time after which starving output is spooled.
    await until(over, "the task to write it all to the spool", 20.0)
    await embedded.start_controller()
    run = await ended(embedded, run_id)
    assert outcome(run) == ("succeeded", "")
    assert run.executions[0].stdout_bytes == 20_000_003
