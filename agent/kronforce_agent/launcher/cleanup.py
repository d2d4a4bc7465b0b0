"""Kills what dead launchers left behind; the agent calls it before its hello.

With a cgroup one write does it. Otherwise: the sessions in the `starts` file, whoever carries the
mark of an execution named there, and their descendants, to a fixed point. A launcher is dead when
its lock is free; while we clean, we hold that lock. Runs in the agent's process, and blocks.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from kronforce_agent.launcher import cgroup, tree
from kronforce_agent.launcher.killing import kill_until_quiet
from kronforce_agent.launcher.paths import LauncherPaths, known_launchers, try_lock
from kronforce_agent.launcher.starts import Start, kernel_boot_id, read_starts

log = logging.getLogger(__name__)

START_SLACK_TICKS = 200
"""Between reading the clock and the fork: 2 s covers a machine that swaps."""


def kill_leftovers(data_dir: Path) -> int:
    """Kill the tasks of every dead launcher and remove its files. Returns how many were killed.

    A launcher that is dying this very moment may still hold its lock when its socket is closed
    already; then it is passed over. LauncherClient.start_or_attach comes again until it is gone.
    """
    return sum(_clean(paths) for paths in known_launchers(data_dir))


def _clean(paths: LauncherPaths) -> int:
    try:
        lock = try_lock(paths.lock)
    except FileNotFoundError:
        return 0
    if lock is None:
        return 0
    try:
        killed = _kill_tasks(paths)
        _remove_files(paths)
    finally:
        os.close(lock)
    return killed


def _kill_tasks(paths: LauncherPaths) -> int:
    record, starts = read_starts(paths.starts)
    if record is None or record.kernel_boot != kernel_boot_id():
        return 0
    if record.cgroup and (count := cgroup.kill(Path(record.cgroup))) is not None:
        return count
    kill = kill_until_quiet(LeftoverFinder(starts))
    if kill.survivors:
        log.error("%d processes of launcher %d survive SIGKILL", kill.survivors, record.pid)
    return len(kill.killed)


def _remove_files(paths: LauncherPaths) -> None:
    if paths.spool.is_dir():
        for segment in paths.spool.iterdir():
            segment.unlink(missing_ok=True)
        paths.spool.rmdir()
    for path in (paths.socket, paths.starts, paths.starts.with_suffix(".new"), paths.lock):
        path.unlink(missing_ok=True)


class LeftoverFinder:
    """Finds the processes of these starts without the help of a living launcher."""

    def __init__(self, starts: list[Start]) -> None:
        self._sessions = {start.pid: start.start_ticks for start in starts if start.pid}
        self._executions = {start.execution_id for start in starts}
        self._known: set[tuple[int, int]] = set()
        self._judged: dict[tuple[int, int], bool] = {}

    def __call__(self) -> set[int]:
        processes = tree.snapshot()
        roots = {p.pid for p in processes.values() if self._is_ours(p, processes)}
        below = tree.descendants(roots, processes) - {os.getpid()}
        self._known |= {(pid, processes[pid].start_ticks) for pid in below}
        return {pid for pid in below if not processes[pid].zombie}

    def _is_ours(self, process: tree.Process, processes: tree.Snapshot) -> bool:
        identity = (process.pid, process.start_ticks)
        if identity in self._known:
            return True
        if identity not in self._judged:
            session = self._in_session(process, processes)
            mark = None if session else tree.execution_mark(process.pid)
            if mark == tree.UNREADABLE_YET:
                return False
            self._judged[identity] = session or mark in self._executions
        return self._judged[identity]

    def _in_session(self, process: tree.Process, processes: tree.Snapshot) -> bool:
        started = self._sessions.get(process.sid)
        if started is None or process.start_ticks < started:
            return False
        leader = processes.get(process.sid)  # someone else's, if the number was used again
        return leader is None or leader.start_ticks <= started + START_SLACK_TICKS
