"""Whose process is whose, while the launcher lives.

The launcher is a subreaper: whatever an attempt starts stays below it, and whoever loses its parent
becomes its child, a stray. So an attempt's tree is its session, the strays that carry its mark, and
their descendants; and once an attempt is over, looking at the launcher's own children is enough to
know that nothing is left. A stray that hides whose it is gets killed once no open attempt is older
than it. Nothing here kills: it says who should be.
"""

from __future__ import annotations

import os
from typing import Protocol

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


Identity = tuple[int, int]
"""pid and start time: a pid alone may be someone else's by now."""


class Family:
    """The launcher's children: main processes of open attempts, and strays."""

    def __init__(self) -> None:
        self._mains: dict[int, Member] = {}
        self._open: dict[str, Member] = {}
        self._ended_sessions: set[int] = set()
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
            self._ended_sessions.add(attempt.pid)

    def members(self, attempt: Member) -> set[int]:
        """Living processes of an open attempt, as of now."""
        processes = tree.snapshot()
        roots = set()
        if self._mains.get(attempt.pid, attempt) is attempt:
            roots = tree.in_session(attempt.pid, processes)
        if self._open.get(attempt.execution_id, attempt) is attempt:  # not its successor's
            marked = (s for s in self._strays(processes) if self._mark(s) == attempt.execution_id)
            roots |= {stray.pid for stray in marked}
        return self._living(roots, processes, attempt)

    def unwanted(self) -> tuple[set[Identity], bool]:
        """Strays to kill now, with whether others remain that are to be looked at again."""
        strays = self._stray_children()
        self._forget_gone(strays)
        doomed = {(s.pid, s.start_ticks) for s in strays if self._is_unwanted(s)}
        self._ended_sessions.clear()
        return doomed, len(doomed) < len(strays)

    def _living(self, roots: set[int], processes: Snapshot, attempt: Member) -> set[int]:
        others = {pid for pid, owner in self._mains.items() if owner is not attempt}
        below = tree.descendants(roots - others, processes)
        return {pid for pid in below if not processes[pid].zombie} - {os.getpid()}

    def _strays(self, processes: Snapshot) -> list[Process]:
        own = os.getpid()
        return [p for p in processes.values() if p.ppid == own and p.pid not in self._mains]

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
            self._marks[identity] = tree.execution_mark(process.pid)
        return self._marks[identity]

    def _forget_gone(self, strays: list[Process]) -> None:
        alive = {(s.pid, s.start_ticks) for s in strays}
        self._left &= alive
        self._marks = {known: mark for known, mark in self._marks.items() if known in alive}
        if self._background:
            self._background &= {mark for mark in map(self._mark, strays) if mark is not None}


class SubtreeFinder:
    """Finds these strays and everything below them, also after they have been reparented."""

    def __init__(self, strays: set[Identity]) -> None:
        self._known = strays

    def __call__(self) -> set[int]:
        processes = tree.snapshot()
        alive = {pid for pid, start in self._known if _is(processes.get(pid), start)}
        below = tree.descendants(alive, processes)
        self._known |= {(pid, processes[pid].start_ticks) for pid in below}
        return {pid for pid in below if not processes[pid].zombie}


def _is(process: Process | None, start_ticks: int) -> bool:
    return process is not None and process.start_ticks == start_ticks
