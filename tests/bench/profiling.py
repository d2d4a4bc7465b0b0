"""`--profile WHO`: py-spy on one process of the product while it is measured.

Collapsed stacks go to build/bench (any flame graph viewer takes them) with a list of the functions
that took most beside them. The figures of such a run are not the product's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.bench.product import CHECKOUT

FOLDER = CHECKOUT / "build" / "bench"
WHO = ("controller", "agent", "launcher")
RATE = 200
"""Samples a second: cost little, and tell apart what takes 1 % in five seconds."""
MIN_SECS = 5
TOP = 40


class Recording:
    """Of one process at a time, two would disturb each other. Raises SystemExit without py-spy."""

    def __init__(self, who: str, pid: int, scenario: str, seconds: float) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._file = FOLDER / f"{scenario}-{who}.raw"
        duration = str(max(MIN_SECS, round(seconds)))
        words = ["record", "--pid", str(pid), "--output", str(self._file),
                 "--format", "raw", "--duration", duration, "--rate", str(RATE),
                 "--threads", "--nonblocking"]  # fmt: skip
        with self._file.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen([_program(), *words], stdout=log, stderr=log)

    def wait(self) -> None:
        """Until it is written; says where."""
        self._process.wait()
        if not self._file.exists():
            raise SystemExit(self._file.with_suffix(".log").read_text())
        top = self._file.with_suffix(".top.txt")
        top.write_text(_summary(self._file.read_text()))
        print(f"  profile: {self._file.relative_to(CHECKOUT)}, {top.relative_to(CHECKOUT)}")


def _summary(stacks: str) -> str:
    """What took most, by itself and with all it calls, in percent of the samples."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    parts = []
    for title, counts in (("by itself", own), ("with all it calls", whole)):
        lines = [f"{count / total:7.1%}  {frame}" for frame, count in counts.most_common(TOP)]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join(parts) + "\n"


def _program() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if not found:
        raise SystemExit("--profile needs py-spy: pip install py-spy")
    return found
