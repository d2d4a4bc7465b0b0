"""Ends attempts' trees, all of those that are due in one turn together.

One scan of /proc serves a whole group: ending a thousand attempts costs about what ending one
does. Attempts ask; `work` does it once per turn, and tells them when their tree is gone.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

from kronforce_agent.launcher import tree
from kronforce_agent.launcher.clock import Clock
from kronforce_agent.launcher.family import Family, Member, SubtreeFinder
from kronforce_agent.launcher.killing import TreeKill, send
from kronforce_agent.launcher.timers import Timers

GRACE_POLL_SECS = 0.05
"""How often trees whose main process has obeyed TERM are looked at before their grace is over."""


class Victim(Member, Protocol):
    """An attempt that is being ended."""

    def kill_tree(self) -> None:
        """Everybody has obeyed; call `kill` to make sure."""
        ...

    def tree_gone(self, survivors: int, killed: int) -> None:
        """Nothing of it is found any more, but for so many that cannot be killed.

        `killed`: how many beside its main process got a KILL.
        """
        ...


class Killer:
    """TERM, KILL and looking whether somebody is left, in groups."""

    def __init__(self, family: Family, timers: Timers, clock: Clock) -> None:
        self._family = family
        self._timers = timers
        self._clock = clock
        self._to_terminate: list[Victim] = []
        self._to_kill: list[Victim] = []
        self._watched: set[Victim] = set()
        self._told: dict[Victim, tuple[int, set[int]]] = {}
        self._watching = False

    def terminate(self, victim: Victim) -> None:
        """TERM to its tree, this turn."""
        self._to_terminate.append(victim)

    def kill(self, victim: Victim) -> None:
        """KILL its tree until nothing is found; begins this turn."""
        self._watched.discard(victim)
        self._told.pop(victim, None)
        self._to_kill.append(victim)

    def watch(self, victim: Victim) -> None:
        """Its main process has obeyed; kill (which finds nobody) once the others are gone too."""
        self._watched.add(victim)
        self._watch_on()

    def kill_strays(self, finder: SubtreeFinder) -> None:
        self._run(TreeKill(find=finder, started=self._clock.monotonic()), lambda _: None)

    def work(self) -> None:
        """Do what was asked for since the last turn."""
        if self._to_terminate:
            group, self._to_terminate = self._to_terminate, []
            self._terminate(group)
        if self._to_kill:
            group, self._to_kill = self._to_kill, []
            find = _GroupFinder(self._family, group)
            kill = TreeKill(find=find, started=self._clock.monotonic())
            self._run(kill, find.tell)

    def _terminate(self, group: list[Victim]) -> None:
        # Main processes first: a shell would report its child's death as its own exit code. And
        # who is stopped does not see a TERM before a CONT.
        members = self._family.members(group)
        now = self._clock.boot_ticks()
        self._told |= {victim: (now, pids) for victim, pids in members.items()}
        for number in (signal.SIGTERM, signal.SIGCONT):
            for victim, pids in members.items():
                main = pids & {victim.pid}
                send([*main, *(pids - main)], number)

    def _run(self, kill: TreeKill, gone: Callable[[int], None], *, told: bool = False) -> None:
        again = kill.step(self._clock.monotonic())
        if (kill.empty_once or again is None) and not told:
            told = True
            gone(kill.survivors)
        if again is not None:
            self._timers.at(again, lambda: self._run(kill, gone, told=told))

    def _watch_on(self) -> None:
        if self._watched and not self._watching:
            self._watching = True
            self._timers.at(self._clock.monotonic() + GRACE_POLL_SECS, self._look)

    def _look(self) -> None:
        self._watching = False
        if self._watched:  # the others have been killed since
            for victim, pids in self._family.members(self._watched).items():
                if not pids:
                    victim.kill_tree()
                else:
                    self._tell_late(victim, pids)
        self._watch_on()

    def _tell_late(self, victim: Victim, pids: set[int]) -> None:
        """Who was there already when the others got their TERM, but in the middle of exec, gets it.

        Not who was started since: it may be what the task does to end well.
        """
        told_at, told = self._told.get(victim, (0, set()))
        missed = [tree.read_process(pid) for pid in pids - told]
        send([p.pid for p in missed if p and p.start_ticks <= told_at], signal.SIGTERM)
        told |= pids


class _GroupFinder:
    """The living processes of a group of attempts."""

    def __init__(self, family: Family, group: list[Victim]) -> None:
        self._family = family
        self._found: dict[Victim, set[int]] = {victim: set() for victim in group}

    def __call__(self) -> set[int]:
        members = self._family.members(self._found.keys())
        for victim, pids in members.items():
            self._found[victim] |= pids
        return set().union(*members.values())

    def tell(self, survivors: int) -> None:
        """Everybody whom it found has got a KILL."""
        for victim, pids in self._found.items():
            victim.tree_gone(survivors, len(pids - {victim.pid}))
