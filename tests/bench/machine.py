"""What the figures were made on: machine, versions, commit, date."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.product import CHECKOUT

CORES = 2
"""The figures are for two cores, whatever the machine has."""
FSYNCS = 200
FSYNC_BYTES = 4096
PRODUCT = ("kronforce", "agent", "clients", "proto", "requirements", "pyproject.toml")


def use_two_cores() -> None:
    """For this process and all that it starts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def describe(folder: Path) -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "machine_cores": os.cpu_count(),
        "kernel": platform.release(),
        "fsync_median_ms": round(fsync_median_ms(folder), 3),
    }


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "sqlite": sqlite3.sqlite_version,
        "uvloop": version("uvloop"),
    }


def commit() -> str:
    """Short, with `+` if the product differs from it."""
    head = _git("rev-parse", "--short", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--", *PRODUCT) else "")


def date() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def fsync_median_ms(folder: Path) -> float:
    """A page written and synced, in the folder where the product's data goes."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(FSYNCS):
            file.write(b"x" * FSYNC_BYTES)
            start = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e3


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True,
                              check=True)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
