"""`--profile WHO`: py-spy on one process of the product while it is measured, into build/bench."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.product import CHECKOUT, Product

FOLDER = CHECKOUT / "build" / "bench"
WHO = ("controller", "agent", "launcher")
RATE = 200
"""Samples a second; 200 cost the measured process little."""
MIN_SECS = 5


def start(who: str, running: Product, scenario: str, seconds: float) -> None:
    """Two recordings would disturb each other, so it is one process at a time."""
    if not who:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{scenario}-{who}.svg"
    words = ["record", "--pid", str(running.pids()[who][0]), "--output", str(file),
             "--duration", str(max(MIN_SECS, round(seconds))), "--rate", str(RATE),
             "--threads", "--nonblocking"]  # fmt: skip
    log = file.with_suffix(".log").open("wb")
    with log:
        subprocess.Popen([_program(), *words], stdout=log, stderr=log)
    print(f"  profile: {file.relative_to(CHECKOUT)}")


def _program() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if not found:
        raise SystemExit("--profile needs py-spy: pip install py-spy")
    return found
