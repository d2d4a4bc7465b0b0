"""Whose process is whose, while the launcher lives.

The launcher is a subreaper: whatever an attempt starts stays below it, and whoever loses its parent
becomes its child, a stray. So an attempt's tree is its session, the strays that carry its mark, and
their descendants; and once an attempt is over, looking at the launcher's own children is enough to
know that nothing is left. A stray that hides whose it is gets killed once no open attempt is older
than it. Nothing here kills: it says who should be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

from kronforce_agent.launcher import tree
from kronforce_agent.launcher.tree import Process, Snapshot


class Member(Protocol):
    """What an attempt tells about itself."""

    @property
    def execution_id(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def start_ticks(self) -> int: ...
    @property
    def leave_background(self) -> bool: ...


M = TypeVar("M", bound=Member)
Identity = tuple[int, int]
"""pid and start time: a pid alone may be someone else's by now."""


class Family:
    """The launcher's children: main processes of open attempts, and strays."""

    def __init__(self) -> None:
        self._mains: dict[int, Member] = {}
        self._open: dict[str, Member] = {}
        self._ended_sessions: dict[int, str] = {}
        self._background: set[str] = set()
        self._left: set[Identity] = set()
        self._marks: dict[Identity, str | None] = {}

    def add(self, attempt: Member) -> None:
        self._mains[attempt.pid] = attempt
        self._open[attempt.execution_id] = attempt

    def main_gone(self, pid: int) -> Member | None:
        """The attempt whose main process this was; None for a stray."""
        return self._mains.pop(pid, None)

    def ended(self, attempt: Member) -> None:
        """The attempt is over; what it left is a stray now."""
        self._open.pop(attempt.execution_id, None)
        if attempt.leave_background:
            self._background.add(attempt.execution_id)
        else:
            self._ended_sessions[attempt.pid] = attempt.execution_id

    def members(self, group: Collection[M]) -> dict[M, set[int]]:
        """By attempt, its living processes as of now; one scan however many attempts there are."""
        processes = tree.snapshot()
        finder = _OwnerFinder(
            processes,
            sessions={a.pid: a for a in group if self._mains.get(a.pid, a) is a},
            marks={a.execution_id: a for a in group if self._is_open(a)},
            mains=self._mains,
            mark_of=self._mark,
        )
        found: dict[M, set[int]] = {attempt: set() for attempt in group}
        for process in processes.values():
            owner = finder.owner(process)
            if owner is not None and not process.zombie:
                found[owner].add(process.pid)
        return found

    def _is_open(self, attempt: Member) -> bool:
        """False where a newer attempt of the same execution carries the mark by now."""
        return self._open.get(attempt.execution_id, attempt) is attempt

    def unwanted(self) -> tuple[dict[Identity, str], bool]:
        """Strays to kill now, with whether others remain that are to be looked at again.

        Beside each the execution that left it, empty where it hides that.
        """
        strays = self._stray_children()
        self._forget_gone(strays)
        doomed = {(s.pid, s.start_ticks): self._left_by(s) for s in strays if self._is_unwanted(s)}
        self._ended_sessions.clear()
        return doomed, len(doomed) < len(strays)

    def _left_by(self, stray: Process) -> str:
        return self._mark(stray) or self._ended_sessions.get(stray.sid, "")

    def _stray_children(self) -> list[Process]:
        pids = [pid for pid in tree.own_children() if pid not in self._mains]
        found = [tree.read_process(pid) for pid in pids]
        return [process for process in found if process is not None and not process.zombie]

    def _is_unwanted(self, stray: Process) -> bool:
        if (stray.pid, stray.start_ticks) in self._left:
            return False
        mark = self._mark(stray)
        if mark in self._open or self._in_open_session(stray):
            return False
        if mark in self._background:
            self._left.add((stray.pid, stray.start_ticks))
            return False
        if mark is not None or stray.sid in self._ended_sessions:
            return True
        return not self._background and self._older_than_all(stray)

    def _in_open_session(self, stray: Process) -> bool:
        return any(stray.sid == attempt.pid for attempt in self._open.values())

    def _older_than_all(self, stray: Process) -> bool:
        return all(stray.start_ticks < attempt.start_ticks for attempt in self._open.values())

    def _mark(self, process: Process) -> str | None:
        """Read once per process: what it wipes later does not help it."""
        identity = (process.pid, process.start_ticks)
        if identity not in self._marks:
            mark = tree.execution_mark(process.pid)
            if mark == tree.UNREADABLE_YET:
                return None
            self._marks[identity] = mark
        return self._marks[identity]

    def _forget_gone(self, strays: list[Process]) -> None:
        alive = {(s.pid, s.start_ticks) for s in strays}
        self._left &= alive
        self._marks = {known: mark for known, mark in self._marks.items() if known in alive}
        if self._background:
            self._background &= {mark for mark in map(self._mark, strays) if mark is not None}


class _OwnerFinder(Generic[M]):
    """Says for each process of a snapshot which attempt of a group it belongs to."""

    def __init__(
        self,
        processes: Snapshot,
        *,
        sessions: Mapping[int, M],
        marks: Mapping[str, M],
        mains: Mapping[int, Member],
        mark_of: Callable[[Process], str | None],
    ) -> None:
        self._processes = processes
        self._sessions = sessions
        self._marks = marks
        self._mains = mains
        self._mark_of = mark_of
        self._launcher = os.getpid()
        self._known: dict[int, M | None] = {self._launcher: None}

    def owner(self, process: Process) -> M | None:
        """Climb to the first ancestor that is known, then write down what was learnt."""
        climbed: list[int] = []
        at: Process | None = process
        owner = None
        while at is not None:
            if at.pid in self._known:
                owner = self._known[at.pid]
                break
            climbed.append(at.pid)
            owner = self._by_itself(at)
            if owner is not None or at.pid in self._mains:
                break
            at = self._processes.get(at.ppid)
        self._known.update(dict.fromkeys(climbed, owner))
        return owner

    def _by_itself(self, process: Process) -> M | None:
        owner = self._sessions.get(process.sid) or self._sessions.get(process.pgid)
        if owner is None and process.ppid == self._launcher and process.pid not in self._mains:
            owner = self._marks.get(self._mark_of(process) or "")
        return owner


class SubtreeFinder:
    """Finds these strays and everything below them, also after they have been reparented."""

    def __init__(self, strays: Mapping[Identity, str]) -> None:
        self._known = dict(strays)
        self.found: dict[str, set[int]] = {}
        """By execution, whoever was found so far."""

    def __call__(self) -> set[int]:
        processes = tree.snapshot()
        alive: dict[str, set[int]] = {}
        for (pid, start), owner in self._known.items():
            if _is(processes.get(pid), start):
                alive.setdefault(owner, set()).add(pid)
        found = [self._below(pids, owner, processes) for owner, pids in alive.items()]
        return set().union(*found)

    def _below(self, roots: set[int], owner: str, processes: Snapshot) -> set[int]:
        below = tree.descendants(roots, processes)
        self._known |= {(pid, processes[pid].start_ticks): owner for pid in below}
        living = {pid for pid in below if not processes[pid].zombie}
        self.found.setdefault(owner, set()).update(living)
        return living


def _is(process: Process | None, start_ticks: int) -> bool:
    return process is not None and process.start_ticks == start_ticks
