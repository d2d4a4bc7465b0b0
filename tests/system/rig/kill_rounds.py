"""Rounds of kills: in each some of the mixed load, and something that is done to some process.

A chapter is some rounds on one cluster, which is kept running; then all work must come to its end,
and its history is judged. What is done is dealt from a deck that has every failpoint and every
signal to every process, so that enough chapters do all of it; the rest (which load, at which
moment, for how long) is drawn from the seed. The same seed deals and draws the same; which moment
of the processes that hits is the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.system.checker.causes import AGENT, CONTROLLER, LAUNCHER
from tests.system.checker.history import History, Killed
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.failpoint_round import NTH, ON_RETURN, Point, points
from tests.system.rig.keeping import kept
from tests.system.rig.load import KINDS, Load
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes

ROLES = (CONTROLLER, AGENT, LAUNCHER)
# A card for each failpoint, and so many for each signal to each process.
SIGNAL_CARDS = 4
# Of the load, in each round.
LEAST, MOST = 3, 6
# From the load's begin to the deed, for how long a process is stopped, and from then to the next
# round: long enough that whoever comes back has begun to work.
BEFORE_SECS, STOPPED_SECS, AFTER_SECS = (0.0, 1.0), (0.2, 3.0), (0.6, 1.6)
SETTLE_SECS = 120.0
STRAY_SECS = 15.0


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What is done: `how` is a signal's name, or a failpoint's plan to come back with."""

    role: str
    how: str

    def __str__(self) -> str:
        return f"{self.how} {self.role}"


def deck(rng: random.Random) -> list[Deed]:
    """Every deed, shuffled."""
    cards = [
        Deed(role=role, how=how)
        for role in ROLES
        for how in ("SIGKILL", "SIGSTOP", "SIGTERM")
        for _ in range(SIGNAL_CARDS)
    ]
    cards += [Deed(role=point.role, how=_plan(point, rng)) for point in points()]
    rng.shuffle(cards)
    return cards


def deal(seed: int, first: int, count: int) -> list[Deed]:
    """Deeds number `first` and on of all that this seed gives, deck after deck."""
    rng = random.Random(seed)
    cards: list[Deed] = []
    while len(cards) < first + count:
        cards += deck(rng)
    return cards[first : first + count]


def _plan(point: Point, rng: random.Random) -> str:
    most = 1 if point.name in ON_RETURN else NTH.get(point.name, 3)
    return f"{point.name}:{rng.randint(1, most)}:kill"


@dataclass(kw_only=True)
class Chapter:
    """Rounds on one cluster. `told` is what was done, for whoever reads a failure."""

    cluster: Cluster
    rng: random.Random
    told: list[str] = field(default_factory=list)
    killed: list[Killed] = field(default_factory=list)

    async def play(self, deeds: Sequence[Deed]) -> History:
        """All rounds, then the end of all work."""
        notes = Notes(self.cluster.folder / "notes")
        recorder = Recorder(self.cluster, notes)
        await self.cluster.start_controller()
        await self.cluster.start_agent()
        load = Load(self.cluster, recorder, notes)
        await load.define()
        await recorder.follow()
        async with kept(self.cluster):
            for deed in deeds:
                await self._round(load, deed)
            await load.stop_ticking()
            await recorder.settled(SETTLE_SECS)
            history = await recorder.history()
            left = await self._left()
        return replace(history, killed=tuple(self.killed), left=left)

    async def _round(self, load: Load, deed: Deed) -> None:
        kinds = self.rng.choices(KINDS, k=self.rng.randint(LEAST, MOST))
        before = self.rng.uniform(*BEFORE_SECS)
        stopped = self.rng.uniform(*STOPPED_SECS)
        after = self.rng.uniform(*AFTER_SECS)
        self.told.append(f"{deed} after {before:.2f} s of {', '.join(kinds)}")
        firing = asyncio.ensure_future(load.fire_some(kinds))
        await asyncio.sleep(before)
        undo = await self._do(deed, stopped)
        await asyncio.sleep(after)
        await firing
        undo()

    async def _do(self, deed: Deed, stopped_secs: float) -> Callable[[], None]:
        """Do it; what is to be done when the round is over."""
        if ":" in deed.how:
            return self._arm(deed)
        number = signal.Signals[deed.how]
        if number == signal.SIGSTOP:
            # Standing still is no excuse for a loss: it is not noted.
            self._signal(deed.role, number)
            await asyncio.sleep(stopped_secs)
            self._signal(deed.role, signal.SIGCONT)
        else:
            self._note(deed.role)
            self._signal(deed.role, number)
        return _nothing

    def _arm(self, deed: Deed) -> Callable[[], None]:
        """Kill it, so that it comes back with the failpoint; an agent arms its launchers."""
        host = CONTROLLER if deed.role == CONTROLLER else AGENT
        self.cluster.next_failpoint[host] = deed.how
        self._note(deed.role)
        self._note(host)
        if deed.role == LAUNCHER:
            self._signal(LAUNCHER, signal.SIGKILL)
        self._signal(host, signal.SIGKILL)
        if host == CONTROLLER:
            # It hits soon, and is then started without.
            return _nothing
        return lambda: self._disarm(deed.role)

    def _disarm(self, role: str) -> None:
        """An agent that is still armed, and launchers that it would arm, make room for others."""
        self.cluster.next_failpoint.pop(AGENT, None)
        self._signal(AGENT, signal.SIGKILL)
        if role == LAUNCHER:
            self._signal(LAUNCHER, signal.SIGKILL)
        # From arming to now it may have died at any moment.
        armed = [each for each in self.killed if each.role == role][-1]
        self.killed.append(replace(armed, until=_now_us()))
        self._note(AGENT)

    def _note(self, role: str) -> None:
        now = _now_us()
        self.killed.append(Killed(role=role, since=now, until=now))

    def _signal(self, role: str, number: signal.Signals) -> None:
        if role == LAUNCHER:
            for pid in self.cluster.launchers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            return
        process = self.cluster.controller if role == CONTROLLER else self.cluster.agents["one"]
        assert process is not None
        process.signal(number)

    async def _left(self) -> tuple[str, ...]:
        async def quiet() -> bool:
            return not self.cluster.strays()

        try:
            await until(quiet, "tasks of ended attempts to be gone", STRAY_SECS)
        except AssertionError:
            return tuple(map(str, self.cluster.strays()))
        return ()


def _now_us() -> int:
    return time.time_ns() // 1_000


def _nothing() -> None:
    return None
