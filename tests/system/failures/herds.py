"""Failure 29, of any size: jobs that are due at one instant, also where the controller is killed.

The instant is far enough ahead that everything is there before it, or the first of them would be
late by themselves.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.system.checker.causes import CONTROLLER
from tests.system.checker.history import History, Killed, Policy
from tests.system.checker.rules import judge
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

# Definitions on their way at a time.
AT_ONCE = 32
# Jobs have these by turns. Whoever is merely one of many was not missed, whatever its policy.
POLICIES = ("run_once", "skip", "run_all")
# Where the controller is away at the instant, it may miss it: these make up for it.
CATCHING_UP = ("run_once", "run_all")
# Each is hit once for each job of the herd, before or behind the commit that counts.
POINTS = (
    "engine.scheduler.before_fire",
    "engine.trigger.after_commit",
    "engine.completion.after_commit",
)


class Herd:
    """So many no-op jobs of any agent, due in the same second."""

    def __init__(self, cluster: Cluster, count: int, policies: Sequence[str]) -> None:
        self._cluster = cluster
        self._policies = policies
        self._count = count
        self._recorder = Recorder(cluster, Notes(cluster.folder / "notes"))
        self._instant = datetime.now(UTC)
        self._killed: list[Killed] = []

    async def define(self, lead: timedelta) -> None:
        """All of them; the instant is `lead` from now."""
        self._instant = (datetime.now(UTC) + lead).replace(microsecond=0)
        numbers = iter(range(self._count))
        await asyncio.gather(*(self._define_each(numbers) for _ in range(AT_ONCE)))

    async def _define_each(self, numbers: Iterator[int]) -> None:
        at = self._instant
        for number in numbers:
            await self._cluster.client.jobs.create(
                {
                    "name": _name(number),
                    "target": {"type": "any"},
                    "task": {"type": "noop"},
                    "schedule": {
                        "type": "cron",
                        "value": f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *",
                    },
                    "misfire_policy": self._policies[number % len(self._policies)],
                }
            )
            self._recorder.policies[_name(number)] = Policy(notes_effects=False, in_agent=True)

    def is_ahead(self) -> bool:
        """Whether the instant is yet to come."""
        return datetime.now(UTC) < self._instant

    async def arm(self, rng: random.Random) -> str:
        """Have the controller come back with a failpoint, which it hits somewhere in the herd."""
        plan = f"{rng.choice(POINTS)}:{rng.randint(1, self._count)}:kill"
        assert self._cluster.controller is not None
        await self._cluster.controller.stop()
        await self._cluster.start_controller(failpoint=plan)
        return plan

    async def kill(self, limit_secs: float) -> None:
        """Wait until the failpoint was hit, and start the controller again."""
        controller = self._cluster.controller
        assert controller is not None
        async with asyncio.timeout(limit_secs):
            await asyncio.shield(controller.ended)
        self._killed.append(Killed(role=CONTROLLER))
        await self._cluster.start_controller()

    async def over(self, limit_secs: float) -> None:
        """Wait until as many executions have ended as there are jobs."""
        await until(patient(self._all_ended), f"{self._count} executions to end", limit_secs)

    async def _all_ended(self) -> bool:
        tally = (await self._cluster.client.stats.system()).all_kept
        return tally.executions.total >= self._count

    async def history(self) -> History:
        return replace(await self._recorder.history(), killed=tuple(self._killed))

    def amiss(self, history: History) -> dict[str, object]:
        """What differs from one run of each job, for the one instant."""
        nominal = int(self._instant.timestamp()) * 1_000_000
        runs = Counter(run.job for run in history.runs)
        found: dict[str, object] = {
            "never ran": [name for name in self._recorder.policies if not runs[name]],
            "ran again": [name for name, times in runs.items() if times > 1],
            "not succeeded": [run for run in history.runs if run.state != "succeeded"],
            "another instant": [run for run in history.runs if run.nominal_at != nominal],
            "skipped": [fire for fire in history.fires if not fire.run_id],
        }
        return {what: those for what, those in found.items() if those}


def _name(number: int) -> str:
    return f"herd-{number:05d}"


async def stampede(cluster: Cluster, count: int, lead: timedelta, limit_secs: float) -> None:
    """All of them, with a controller that is there."""
    await cluster.start_controller()
    await cluster.start_agent(slots=64)
    herd = Herd(cluster, count, POLICIES)
    await herd.define(lead)
    assert herd.is_ahead(), "the instant came before its jobs were there"
    await herd.over(limit_secs)
    history = await herd.history()
    assert judge(history) == []
    assert herd.amiss(history) == {}
    assert cluster.complaints() == []


async def killed_stampede(
    cluster: Cluster, count: int, lead: timedelta, limit_secs: float, rng: random.Random
) -> None:
    """The same with one that is killed somewhere in it, and started again."""
    await cluster.start_controller()
    herd = Herd(cluster, count, CATCHING_UP)
    await herd.define(lead)
    plan = await herd.arm(rng)
    await cluster.start_agent(slots=64, wait=False)
    assert herd.is_ahead(), "the instant came before its jobs were there"
    await herd.kill(limit_secs)
    await herd.over(limit_secs)
    history = await herd.history()
    assert judge(history) == [], plan
    assert herd.amiss(history) == {}, plan
    assert cluster.complaints() == [], plan
