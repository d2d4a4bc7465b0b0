"""Kills a tree of processes that may fork faster than it is read.

STOP everything until a scan finds nothing new (a stopped process cannot fork), then KILL, then look
again until two quiet windows have passed. The caller says which processes are meant, anew for each
scan, and drives `step` from its loop or calls `kill_until_quiet`. Never signals pid 1, itself, or a
pid that the finder did not return in this very scan.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

STOP_PASSES = 24
"""Scans in one step: a bomb of thousands converges in fewer; a loop must not be held for longer."""
RECHECK_SECS = 0.02
QUIET_SECS = 0.1
"""A process caught between fork and exec shows up well within this."""
QUIET_WINDOWS = 2
GIVE_UP_SECS = 10.0
"""What survives KILL this long sleeps uninterruptibly in the kernel: report it, go on."""

Finder = Callable[[], set[int]]


@dataclass(kw_only=True)
class TreeKill:
    """The progress of one kill. Call `step(now)` until it returns None; it says when to call again.

    `empty_once` is True as soon as one scan after a KILL has found nothing, which is when the end
    may be reported; the quiet windows after it only chase what a scan missed.
    """

    find: Finder
    started: float
    killed: set[int] = field(default_factory=set)
    survivors: int = 0
    empty_once: bool = False
    _quiet_since: float | None = None

    def step(self, now: float) -> float | None:
        """One round. Returns the instant of the next, or None when it is over (or given up)."""
        found = stop_and_kill(self.find)
        self.killed |= found
        self.survivors = len(found)
        if found:
            self._quiet_since = None
            return None if now - self.started > GIVE_UP_SECS else now + RECHECK_SECS
        self.empty_once = True
        if self._quiet_since is None:
            self._quiet_since = now
        quiet_until = self._quiet_since + QUIET_SECS * QUIET_WINDOWS
        return None if now >= quiet_until else min(now + QUIET_SECS, quiet_until)


def stop_and_kill(find: Finder) -> set[int]:
    """STOP to a fixed point, then KILL. Returns whom; empty means that there was nobody."""
    stopped: set[int] = set()
    for _ in range(STOP_PASSES):
        fresh = find() - stopped
        if not fresh:
            break
        send(fresh, signal.SIGSTOP)
        stopped |= fresh
    send(stopped, signal.SIGKILL)
    return stopped


def send(pids: Iterable[int], signal_number: int) -> None:
    """Signal each; those that are gone, or not ours to signal, are passed over."""
    for pid in pids:
        if pid > 1 and pid != os.getpid():
            try:
                os.kill(pid, signal_number)
            except (ProcessLookupError, PermissionError):
                continue


def kill_until_quiet(find: Finder) -> TreeKill:
    """Blocking: the same to its end, for an agent that has not said hello yet."""
    kill = TreeKill(find=find, started=time.monotonic())
    while (again := kill.step(time.monotonic())) is not None:
        time.sleep(max(0.0, again - time.monotonic()))
    return kill
