"""Which processes belong to an attempt, read from /proc.

A process belongs to the attempt whose main process's session or process group it is in, whose
descendant it is, or whose mark (KRONFORCE_EXECUTION_ID) its environment carries. A snapshot is not
atomic: whoever kills by it must look again. Nothing here sends a signal.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MARK = "KRONFORCE_EXECUTION_ID"
UNREADABLE_YET = ""
"""What a process in the middle of exec (and a zombie) has for a mark: its environment is empty."""
ENVIRON_LIMIT = 8 * 1024 * 1024
"""More than ARG_MAX's usual 2 MB; a process cannot make us read without end."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/<pid>/stat, as far as we care."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    start_ticks: int
    zombie: bool


Snapshot = Mapping[int, Process]


def snapshot() -> dict[int, Process]:
    """Every process that /proc shows now."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  half the cost of pathlib, thousands of times
        if name.isdigit() and (process := read_process(int(name))) is not None:
            found[process.pid] = process
    return found


def read_process(pid: int) -> Process | None:
    """This process, or None if it is gone."""
    try:
        line = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses: cut at the last one.
    rest = line[line.rindex(b")") + 2 :].split(maxsplit=20)
    return Process(pid, int(rest[1]), int(rest[2]), int(rest[3]), int(rest[19]), rest[0] in b"ZXx")


def execution_mark(pid: int) -> str | None:
    """The execution that this process says it belongs to; None without a mark or permission.

    UNREADABLE_YET must not be remembered: a moment later the process may have a mark.
    """
    try:
        variables = _read(f"/proc/{pid}/environ")
    except OSError:
        return None
    if not variables:
        return UNREADABLE_YET
    start = (b"\0" + variables).find(b"\0" + MARK.encode() + b"=")
    if start < 0:
        return None
    value = variables[start + len(MARK) + 1 :]
    return value[: value.find(b"\0")].decode(errors="replace") if b"\0" in value else value.decode()


def descendants(roots: Iterable[int], processes: Snapshot) -> set[int]:
    """The roots that exist and everything below them."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in roots if pid in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def own_children() -> list[int]:
    """Direct children of this single-threaded process, zombies included; one small read."""
    pid = os.getpid()
    try:
        return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [process.pid for process in snapshot().values() if process.ppid == pid]


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 65536)
        while len(data) >= 4096 and len(data) < ENVIRON_LIMIT and (more := os.read(fd, 65536)):
            data += more
        return data
    finally:
        os.close(fd)
