"""One round: a mixed load, a SIGKILL at one failpoint, a restart, and a history at the end."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, replace

import kronforce.app  # noqa: F401 - registers every failpoint of the controller
import kronforce_agent.agent
import kronforce_agent.launcher.loop  # noqa: F401 - registers the launcher's
from kronforce import failpoints
from kronforce_agent import failpoints as agent_failpoints
from tests.system.checker.causes import AGENT, CONTROLLER, LAUNCHER
from tests.system.checker.history import History, Killed
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.keeping import Keeper, kept
from tests.system.rig.load import Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

SETTLE_SECS = 60.0
# What an agent logs, as an error, when its launcher has died.
LAUNCHER_GONE = '"action": "launcher_gone"'

# Late enough that work is under way, early enough that the load certainly comes there.
DEFAULT_NTH = 3
NTH = {
    "store.before_commit": 14,
    "store.after_commit": 14,
    "engine.cancel.after_request": 1,
    "engine.run_timeout.due": 1,
    "engine.session.before_send": 5,
    "engine.session.after_send": 5,
    "engine.scheduler.before_fire": 2,
    "engine.trigger.after_commit": 6,
    "agent.journal.before_sync": 4,
    "agent.journal.after_sync": 4,
    "launcher.before_spawn": 8,
    "launcher.after_spawn": 8,
    "launcher.before_exit": 6,
    "launcher.before_output": 6,
}
# Need what this load does not do: a flood without a controller, killed in
# tests/system/launcher/test_kills.py, and a rotation of the secrets' key, killed in
# tests/system/failures/test_rotation.py.
ELSEWHERE = frozenset(
    {
        "launcher.before_spool_write",
        "engine.rotation.key_made",
        "engine.rotation.batch_written",
    }
)
# Only hit when a process comes back to work that is under way.
ON_RETURN = frozenset({"engine.session.hello", "agent.before_hello"})


@dataclass(frozen=True, kw_only=True)
class Point:
    """A registered failpoint, and whose it is."""

    name: str
    role: str

    @property
    def plan(self) -> str:
        nth = 1 if self.name in ON_RETURN else NTH.get(self.name, DEFAULT_NTH)
        return f"{self.name}:{nth}:kill"

    def __str__(self) -> str:
        return self.name


def points() -> list[Point]:
    """Every registered failpoint of controller, agent and launcher."""
    ours = [
        Point(name=name, role=CONTROLLER)
        for name in failpoints.registered()
        # Those of `host.` are a command's: `tests/system/host` kills it there.
        if name not in ELSEWHERE and not name.startswith("host.")
    ]
    agents = [
        Point(name=name, role=LAUNCHER if name.startswith("launcher.") else AGENT)
        for name in agent_failpoints.registered()
        if name not in ELSEWHERE
    ]
    return ours + agents


async def play(cluster: Cluster, point: Point) -> History:
    """The round; whoever was killed is running again and all work has ended when it returns."""
    notes = Notes(cluster.folder / "notes")
    recorder = Recorder(cluster, notes)
    early = "" if point.name in ON_RETURN else point.plan
    await cluster.start_controller()
    load = Load(cluster, recorder, notes)
    await load.define()
    await recorder.follow()
    if point.role == CONTROLLER and early:
        await _replace_controller(cluster, early)
    await cluster.start_agent(failpoint=early if point.role != CONTROLLER else "", wait=False)
    async with kept(cluster) as keeper:
        await load.fire()
        if not early:
            await _bring_back_with(cluster, keeper, point)
        await load.again()
        await load.stop_ticking()
        await _until_killed(cluster, keeper, point)
        await recorder.settled(SETTLE_SECS)
        history = await recorder.history()
        await _nothing_left(cluster)
    killed = (Killed(role=point.role),)
    return replace(history, killed=killed)


async def _replace_controller(cluster: Cluster, plan: str) -> None:
    assert cluster.controller is not None
    await cluster.controller.stop()
    await cluster.start_controller(failpoint=plan)


async def _bring_back_with(cluster: Cluster, keeper: Keeper, point: Point) -> None:
    """Kill the process while it works; it comes back with the failpoint."""
    cluster.next_failpoint[point.role] = point.plan
    process = cluster.controller if point.role == CONTROLLER else cluster.agents["one"]
    assert process is not None
    process.signal(signal.SIGKILL)


async def _until_killed(cluster: Cluster, keeper: Keeper, point: Point) -> None:
    wanted = 1 if point.name not in ON_RETURN else 2

    async def killed() -> bool:
        if point.role == LAUNCHER:
            return any(LAUNCHER_GONE in line for line in cluster.complaints())
        name = "controller" if point.role == CONTROLLER else "agent one"
        return keeper.ended.count((name, -signal.SIGKILL)) >= wanted

    await until(killed, f"the {point.role} to be killed at {point.name}")
    assert point.name in cluster.hits()


async def _nothing_left(cluster: Cluster) -> None:
    """Where everything has ended, only controller, agent and launcher run."""

    async def quiet() -> bool:
        await asyncio.sleep(0)
        return not cluster.strays()

    await until(quiet, "tasks of ended attempts to be gone", 10.0)
