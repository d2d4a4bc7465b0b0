"""Short rounds, each of which makes one kind of fault show: some load, and what is done to whom.

A sound build passes every one of them without a finding; that is tested too.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import ExecutionState
from tests.system.broken.edits import Edit, build
from tests.system.broken.stage import Stage
from tests.system.checker.history import History, Killed, Policy
from tests.system.rig import processes
from tests.system.rig.bare_agent import about, bare_agent
from tests.system.rig.cluster import PATIENCE_SECS, cluster, patient, until
from tests.system.rig.keeping import kept
from tests.system.rig.tasks import printing

PRINTED_BYTES = 300_000
CAP_BYTES = 65_536
# Triggers one after another: more than a start of the controller commits by itself.
IN_A_ROW = 24
AMONG_TRIGGERS = 16
# Batches that write audit entries are here those of triggers; in the second of them.
_IN_A_TRIGGER = "store.audit.before_write:2"
# Down for so long, a job of every second has fires to catch up with, and some that are in time but
# overlap a run that has not started.
DOWN_SECS = 8.0
# With leases of three seconds.
SILENT_SECS = 8

SUCCEEDED = ExecutionState.EXECUTION_STATE_SUCCEEDED
FAILED = ExecutionState.EXECUTION_STATE_FAILED
RUNNING = ExecutionState.EXECUTION_STATE_RUNNING


@dataclass(frozen=True, kw_only=True)
class Provocation:
    """`edits` make every build quicker that plays it, also the sound one."""

    play: Callable[[Stage], Awaitable[None]]
    killed: tuple[Killed, ...] = ()
    edits: tuple[Edit, ...] = ()


async def provoke(
    folder: Path, db: str, name: str, edits: tuple[Edit, ...], patience_secs: float
) -> History:
    """Play it on a build with these edits."""
    provocation = PROVOCATIONS[name]
    code = build(folder / "code", provocation.edits + edits)
    async with cluster(folder / "round", db, code) as made:
        made.folder.mkdir()
        stage = Stage(made, patience_secs)
        await provocation.play(stage)
        return await stage.history(provocation.killed)


async def nobody_is_killed(stage: Stage) -> None:
    """A load of each kind, followed from outside."""
    await _up(stage)
    await stage.job("copied", "true")
    await stage.job("limited", "sleep 0.4", Policy(max_concurrent=1), max_concurrent=1)
    await stage.job("failing", "false", Policy(retry_max=1), retry_max=1, retry_delay_secs=0.1)
    await stage.job(
        "capped",
        printing(PRINTED_BYTES, parts=20, pause_secs=0.01),
        Policy(output_bytes=PRINTED_BYTES, capped=True),
        output_cap_bytes=CAP_BYTES,
    )
    await stage.job("stubborn", "trap '' TERM; sleep 300 & sleep 300", kill_grace_secs=0)
    await stage.recorder.follow()
    trigger = stage.recorder.trigger
    stubborn = await trigger("stubborn")
    await stage.until_started()
    await asyncio.gather(
        trigger("copied", times=5),
        trigger("failing"),
        trigger("capped"),
        *(trigger("limited") for _ in range(3)),
        stage.recorder.cancel(stubborn),
    )


async def killed_among_triggers(stage: Stage, *, plan: str) -> None:
    """A controller that is killed while it takes triggers and does nothing else."""
    await stage.cluster.start_controller()
    await stage.job("short", "true")
    await _again_with(stage, plan)
    back = asyncio.ensure_future(_bring_back(stage))
    for _ in range(IN_A_ROW):
        await stage.recorder.trigger("short")
    await asyncio.wait_for(back, PATIENCE_SECS)
    await stage.cluster.start_agent()


async def killed_with_a_result(stage: Stage, *, plan: str) -> None:
    """A controller that is killed around the end of a run."""
    await stage.cluster.start_controller()
    await stage.job("short", "sleep 0.2")
    await _again_with(stage, plan)
    await stage.cluster.start_agent()
    async with kept(stage.cluster) as keeper:
        await stage.recorder.trigger("short")
        await _until_ended(keeper, "controller")
        await _settled(stage)


async def killed_while_it_stores(stage: Stage) -> None:
    """A controller that is killed when it has stored output and has not yet said so."""
    await stage.cluster.start_controller()
    await _chatty(stage)
    await _again_with(stage, "engine.output.stored:3:kill")
    await stage.cluster.start_agent()
    async with kept(stage.cluster) as keeper:
        await stage.recorder.trigger("chatty")
        await _until_ended(keeper, "controller")
        await _settled(stage)


async def agent_killed_while_it_prints(stage: Stage) -> None:
    """A task goes on printing without its agent, which comes back."""
    await _up(stage)
    await _chatty(stage)
    run_id = await stage.recorder.trigger("chatty")
    await _has_stored(stage, run_id)
    await stage.cluster.agents["one"].kill()
    await stage.cluster.start_agent()


async def agent_killed_at_its_journal(stage: Stage) -> None:
    """An agent that is killed just before its first record is durable."""
    point = "agent.journal.before_sync:1"
    await stage.cluster.start_controller()
    await stage.job("short", "sleep 0.2")
    await stage.cluster.start_agent(failpoint=f"{point}:delay:700,{point}:kill")
    async with kept(stage.cluster) as keeper:
        await stage.recorder.trigger("short")
        await _until_ended(keeper, "agent one")
        await _settled(stage)


async def launcher_killed(stage: Stage) -> None:
    """A task is lost: nobody saw its end."""
    await _up(stage)
    await stage.job("long", "sleep 2")
    await stage.recorder.trigger("long")
    await stage.until_started()
    stage.kill_launchers()


async def agent_and_launcher_killed(stage: Stage) -> None:
    """A task that nobody holds any more must be gone before the agent is back."""
    await _up(stage)
    await stage.job("long", "setsid sleep 300 & sleep 300")
    await stage.recorder.trigger("long")
    await stage.until_started()
    await stage.cluster.agents["one"].kill()
    stage.kill_launchers()
    await stage.cluster.start_agent()


async def killed_while_it_catches_up(stage: Stage) -> None:
    """A controller that was down for some fires, and is killed between making up for them."""
    await stage.cluster.start_controller()
    await stage.job(
        "ticking",
        "true",
        schedule={"type": "cron", "value": "* * * * * *"},
        misfire_policy="run_all",
    )
    await until(patient(lambda: _has_fired(stage)), "its first run")
    assert stage.cluster.controller is not None
    await stage.cluster.controller.kill()
    await asyncio.sleep(DOWN_SECS)
    # Its first run that is told of: the fires before the last are stored, the timing is not.
    plan = "engine.trigger.after_commit:1:kill"
    controller = await stage.cluster.start_controller(failpoint=plan)
    await controller.ended
    now = datetime.now(UTC)
    await stage.cluster.start_controller()
    await until(patient(lambda: _has_caught_up(stage, now)), "the fires that were missed")
    await stage.cluster.client.jobs.pause("ticking")
    await stage.cluster.start_agent()


async def told_wrongly(stage: Stage) -> None:
    """An agent that reports a success under an old fence, then its failure, twice."""
    await stage.cluster.start_controller()
    async with bare_agent(stage.cluster, "bare") as agent:
        await stage.job("told", "true", target={"type": "agent", "agent_id": "bare"})
        # Another first: the fence before the one that counts is then no zero.
        for count, stale in ((1, False), (2, True)):
            await stage.recorder.trigger("told")
            assignment = (await agent.expect("assignment", count))[-1]
            await agent.send(about(assignment, accepted=pb.Accepted()))
            if stale:
                wrong = about(assignment, result=pb.Result(state=SUCCEEDED, exit_code=0))
                wrong.fence -= 1
                await agent.send(wrong)
                await agent.expect("acknowledge", count)
            result = pb.Result(state=FAILED, state_reason="start_failed")
            end = about(assignment, result=result)
            await agent.send(end, end)
            await agent.expect("acknowledge", count + stale)
        await _settled(stage)


async def power_cut(stage: Stage) -> None:
    """The agent's machine loses power while a task runs."""
    synced = stage.cluster.folder / "synced"
    stage.cluster.agent_environ = {"SYNCED_FOLDER": str(synced)}
    await _up(stage)
    await stage.job("long", "sleep 300")
    run_id = await stage.recorder.trigger("long")
    await stage.until_started()
    await until(patient(lambda: _is_accepted(stage, run_id)), "the task to be accepted")
    await stage.cluster.agents["one"].kill()
    stage.kill_launchers()
    await _kill_tasks(stage)
    _leave_what_was_synced(stage.cluster.folder / "agents" / "agent-one" / "journal", synced)
    await stage.cluster.start_agent()


async def nothing_to_say(stage: Stage) -> None:
    """Longer than a lease nothing happens but heartbeats."""
    await _up(stage)
    await stage.job("long", f"sleep {SILENT_SECS}")
    await stage.recorder.trigger("long")
    await _settled(stage)


# ---- what they share ---------------------------------------------------------------------------


async def _up(stage: Stage) -> None:
    await stage.cluster.start_controller()
    await stage.cluster.start_agent()


async def _again_with(stage: Stage, plan: str) -> None:
    """The controller anew, with this failpoint."""
    assert stage.cluster.controller is not None
    await stage.cluster.controller.stop()
    await stage.cluster.start_controller(failpoint=plan)


async def _bring_back(stage: Stage) -> None:
    """Start the controller again when its failpoint has killed it."""
    assert stage.cluster.controller is not None
    await asyncio.shield(stage.cluster.controller.ended)
    await stage.cluster.start_controller()


async def _chatty(stage: Stage) -> None:
    work = printing(PRINTED_BYTES, parts=20, pause_secs=0.1)
    await stage.job("chatty", work, Policy(output_bytes=PRINTED_BYTES))


async def _has_fired(stage: Stage) -> bool:
    return bool([run async for run in stage.cluster.client.runs.list()])


async def _has_caught_up(stage: Stage, since: datetime) -> bool:
    """Whether the schedule's timing has moved on to what comes after this instant."""
    job = await stage.cluster.client.jobs.get("ticking")
    return job.next_fire_at.ToDatetime(UTC) > since


async def _settled(stage: Stage) -> None:
    """Until all has ended, or patience has; what has not is the checker's to say."""
    try:
        await stage.recorder.settled(stage.patience_secs)
    except AssertionError:
        return


async def _until_ended(keeper: object, name: str) -> None:
    async def ended() -> bool:
        found: list[tuple[str, int]] = keeper.ended  # type: ignore[attr-defined]
        return (name, -signal.SIGKILL) in found

    await until(ended, f"{name} to be killed at its failpoint")


async def _has_stored(stage: Stage, run_id: str) -> None:
    async def some() -> bool:
        run = await stage.cluster.client.runs.get(run_id)
        execution = await stage.cluster.client.executions.get(run.executions[-1].id)
        return execution.stdout_bytes > PRINTED_BYTES // 5

    await until(patient(some), "some output to be stored")


async def _kill_tasks(stage: Stage) -> None:
    """Everything on the agent's machine: what is neither controller nor ours."""
    controller = stage.cluster.controller
    assert controller is not None
    for _ in range(processes.SWEEPS):
        found = [pid for pid in stage.cluster.strays() if pid != controller.pid]
        if not found:
            return
        for pid in found:
            processes.end(pid)
        await asyncio.sleep(processes.POLL_SECS)
    raise AssertionError("the tasks cannot be killed")


def _leave_what_was_synced(folder: Path, synced: Path) -> None:
    """Each file as it was when it was last synced; one that never was is empty."""
    for path in folder.iterdir():
        copy = synced / str(path.stat().st_ino)
        if copy.exists():
            shutil.copyfile(copy, path)
        else:
            path.write_bytes(b"")


async def _is_accepted(stage: Stage, run_id: str) -> bool:
    run = await stage.cluster.client.runs.get(run_id)
    return run.state == RUNNING


CONTROLLER = (Killed(role="controller"),)
AGENT = (Killed(role="agent"),)
LAUNCHER = (Killed(role="launcher"),)

# In time for a test, and with several heartbeats to a lease as in earnest.
QUICK_LEASES = (
    Edit(
        file="kronforce/engine/agents/leases.py",
        old="HEARTBEAT_SECS = 10\nLEASE_SECS = 30\n",
        new="HEARTBEAT_SECS = 1\nLEASE_SECS = 3\n",
    ),
)

PROVOCATIONS: dict[str, Provocation] = {
    "nobody is killed": Provocation(play=nobody_is_killed),
    "killed before a commit": Provocation(
        play=partial(killed_among_triggers, plan=f"{_IN_A_TRIGGER}:delay:300,{_IN_A_TRIGGER}:kill"),
        killed=CONTROLLER,
    ),
    "killed after a commit": Provocation(
        play=partial(killed_among_triggers, plan=f"store.after_commit:{AMONG_TRIGGERS}:kill"),
        killed=CONTROLLER,
    ),
    "killed with a result in hand": Provocation(
        play=partial(killed_with_a_result, plan="engine.completion.result:1:kill"),
        killed=CONTROLLER,
    ),
    # The welcome, the assignment, the acknowledgement.
    "killed after an acknowledgement": Provocation(
        play=partial(killed_with_a_result, plan="engine.session.after_send:3:kill"),
        killed=CONTROLLER,
    ),
    "killed while it stores": Provocation(play=killed_while_it_stores, killed=CONTROLLER),
    "killed while it catches up": Provocation(play=killed_while_it_catches_up, killed=CONTROLLER),
    "agent killed while it prints": Provocation(play=agent_killed_while_it_prints, killed=AGENT),
    "agent killed at its journal": Provocation(play=agent_killed_at_its_journal, killed=AGENT),
    "launcher killed": Provocation(play=launcher_killed, killed=LAUNCHER),
    "agent and launcher killed": Provocation(
        play=agent_and_launcher_killed, killed=AGENT + LAUNCHER
    ),
    "told wrongly": Provocation(play=told_wrongly, killed=AGENT),
    "power cut": Provocation(play=power_cut, killed=AGENT + LAUNCHER),
    "nothing to say": Provocation(play=nothing_to_say, edits=QUICK_LEASES),
}
