"""CPU and memory by process, read from /proc: who used the cores while something was measured.

What the machine was busy with beyond our own processes is `foreign`; what the hypervisor took away
is `steal`. Both say how far a figure can be trusted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Seconds of CPU so far, by name; `tasks` are the ended children of the launcher."""

    at: float
    by_name: Mapping[str, float]
    busy: float
    steal: float


def snapshot(pids: Mapping[str, Sequence[int]]) -> Snapshot:
    by_name: dict[str, float] = {}
    for name, numbers in pids.items():
        times = [_times(pid) for pid in numbers]
        by_name[name] = sum(own for own, _ in times)
        ended = sum(children for _, children in times)
        if name == "launcher":
            by_name["tasks"] = ended
        elif name != "agent":  # its only child was the launcher's start
            by_name[name] += ended
    user, nice, system, _, _, irq, softirq, steal = _system()
    busy = user + nice + system + irq + softirq
    return Snapshot(at=time.monotonic(), by_name=by_name, busy=busy, steal=steal)


def cores_between(first: Snapshot, last: Snapshot) -> dict[str, float]:
    """Cores used on average, by name, with `foreign` and `steal`."""
    took = last.at - first.at
    used = {name: (secs - first.by_name.get(name, 0)) / took for name, secs in last.by_name.items()}
    busy = (last.busy - first.busy) / took
    used["foreign"] = max(0.0, busy - sum(used.values()))
    used["steal"] = (last.steal - first.steal) / took
    return used


def peak_rss_mb(pid: int) -> float:
    return _status(pid, "VmHWM:")


def _status(pid: int, word: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(word):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def rss_mb(pid: int) -> float:
    """What it holds now."""
    return _status(pid, "VmRSS:")


def children(pid: int) -> list[int]:
    """Living children of a process; empty if it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(n) for task in tasks for n in (task / "children").read_text().split()]
    except OSError:
        return []


def find(*words: str) -> list[int]:
    """Processes whose command line holds all of these."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(entry.name))
    return found


def own_secs(pid: int) -> float:
    """What this process has used by itself."""
    return _times(pid)[0]


def tasks_secs(launcher: int) -> float:
    """What the ended tasks of this launcher have used."""
    return _times(launcher)[1]


def _times(pid: int) -> tuple[float, float]:
    """Of the process itself and of its ended children; zero if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return own * TICK, ended * TICK


def _system() -> list[float]:
    line = Path("/proc/stat").read_text().splitlines()[0].split()
    return [int(ticks) * TICK for ticks in line[1:9]]
