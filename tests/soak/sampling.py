"""What processes use, read from /proc: memory, descriptors, threads, CPU; and the logs' sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.usage import TICK
from tests.system.rig.processes import rss_bytes


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One moment: figures by `process kind`, seconds of CPU of all, runs triggered so far."""

    at: float
    figures: Mapping[str, float]
    cpu_secs: float
    runs: int


def sample(at: float, pids: Mapping[str, int], data_dir: Path, runs: int) -> Sample:
    """Read them all."""
    figures: dict[str, float] = {}
    cpu = 0.0
    for name, pid in pids.items():
        figures[f"{name} memory"] = rss_bytes(pid)
        figures[f"{name} descriptors"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        figures[f"{name} threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
        cpu += _cpu_secs(pid)
    for log in sorted(data_dir.glob("*-wal")):
        figures[f"{log.name} wal"] = log.stat().st_size
    return Sample(at=at, figures=figures, cpu_secs=cpu, runs=runs)


def _cpu_secs(pid: int) -> float:
    """Its own; tasks are not the product's cost."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK
