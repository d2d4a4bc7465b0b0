"""What a check of the host says, and what it may look at.

A check is a function of `Surroundings` that yields findings: it changes
nothing that is there, takes a bounded time, and names the way out of whatever
is not as it should be. What it reads of the machine comes through
`Surroundings`, so that a test can be another machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.host import kernel_clock
from kronforce.host.asking import Answer


class Verdict(StrEnum):
    """How it is."""

    FINE = "fine"
    # It works, and somebody should look at it.
    WARNING = "warning"
    # Something does not work, or will not at the next start.
    WRONG = "wrong"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and, unless it is fine, what to do."""

    check: str
    verdict: Verdict
    message: str
    way_out: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """The controller's settings, and the machine around it."""

    config: Config
    clock: Clock
    # Look through the whole database, however long that takes.
    thorough: bool = False
    # Told what takes long, while it does.
    busy: Callable[[str, int, int], None] = lambda what, done, total: None
    proc: Path = Path("/proc")
    fsync: Callable[[int], None] = os.fsync
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    # Asks the controller at an address; raises NoAnswer. None: it is not asked.
    ask: Callable[[str], Answer] | None = None
    kernel_clock: Callable[[], kernel_clock.KernelClock | None] = field(default=kernel_clock.read)


Check = Callable[[Surroundings], Iterable[Finding]]


def fine(check: str, message: str) -> Finding:
    return Finding(check=check, verdict=Verdict.FINE, message=message)


def warning(check: str, message: str, way_out: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, message=message, way_out=way_out)


def wrong(check: str, message: str, way_out: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WRONG, message=message, way_out=way_out)


def size(count: float) -> str:
    """`12.3 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
