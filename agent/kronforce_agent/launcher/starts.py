"""The `starts` file: which sessions a launcher has started, for whoever cleans up after its death.

First a JSON line about the launcher, then per spawn a line `0 0 execution_id` before it and a line
`pid start_ticks execution_id` after it: a launcher that dies between the two leaves a process that
carries its mark, if no session that is known. The file is rewritten when most of its lines are
over. Not fsynced: after a power cut there is nothing to kill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

REWRITE_LINES = 8192
"""Rewritten when it is this long, and twice as long as what was alive then."""
KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class LauncherRecord:
    """Who wrote the file. After a reboot its pids mean nothing."""

    pid: int
    start_ticks: int
    kernel_boot: str
    cgroup: str
    """Folder of its cgroup; empty if it has none of its own."""


@dataclass(frozen=True, slots=True)
class Start:
    """One spawn; the pid is also the session's id, 0 while it is not known."""

    pid: int
    start_ticks: int
    execution_id: str

    def line(self) -> str:
        return f"{self.pid} {self.start_ticks} {self.execution_id}\n"


class StartsFile:
    """Append-only for its launcher; at most two writes per turn of the loop."""

    def __init__(self, path: Path, record: LauncherRecord) -> None:
        self._path = path
        self._head = json.dumps(asdict(record)) + "\n"
        self._lines = 0
        self._rewrite_at = REWRITE_LINES
        self._waiting: list[str] = []
        self._fd = self._write_new([])

    def announce(self, execution_ids: list[str]) -> None:
        """These are about to be spawned; written at once."""
        if execution_ids:
            lines = [Start(0, 0, execution_id).line() for execution_id in execution_ids]
            self._lines += len(lines)
            os.write(self._fd, "".join(lines).encode())

    def add(self, start: Start) -> None:
        self._waiting.append(start.line())

    def flush(self, alive: Callable[[], list[Start]]) -> None:
        """Write what was added; a long file is replaced by `alive()`, if that is much shorter."""
        if not self._waiting:
            return
        self._lines += len(self._waiting)
        os.write(self._fd, "".join(self._waiting).encode())
        self._waiting.clear()
        if self._lines > self._rewrite_at:
            starts = alive()
            os.close(self._fd)
            self._fd = self._write_new(starts)
            self._lines = len(starts)
            self._rewrite_at = max(REWRITE_LINES, 2 * self._lines)

    def remove(self) -> None:
        os.close(self._fd)
        self._path.unlink(missing_ok=True)

    def _write_new(self, alive: list[Start]) -> int:
        fresh = self._path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(fresh, flags, 0o600)
        os.write(fd, (self._head + "".join(start.line() for start in alive)).encode())
        fresh.replace(self._path)
        return fd


def read_starts(path: Path) -> tuple[LauncherRecord | None, list[Start]]:
    """What the file says; torn or foreign lines are passed over, a missing file is empty."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None, []
    try:
        record = LauncherRecord(**json.loads(lines[0]))
    except (IndexError, ValueError, TypeError, RecursionError):
        return None, []
    return record, [start for start in map(_parse, lines[1:]) if start is not None]


def _parse(line: str) -> Start | None:
    parts = line.split()
    if len(parts) != 3 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return Start(int(parts[0]), int(parts[1]), parts[2])


def kernel_boot_id() -> str:
    try:
        return KERNEL_BOOT_ID.read_text().strip()
    except OSError:
        return ""
