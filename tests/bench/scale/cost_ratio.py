"""What one run costs a controller with much in its store, against one with nothing.

Both are up all the time and get the same load in turns; the CPU of both halves of a pair is
compared, so that a busy machine hits both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import many_jobs, product, retention_fill
from tests.bench.books import Void
from tests.bench.scale import process
from tests.bench.scale.site import Site

PAIRS = 5
AGE_DAYS = 1
"""Of the stored executions: retention leaves them alone."""
WARM_SECS = 2.0


def measure(site: Site) -> dict[str, Any]:
    full, empty = site.folder / "full", site.folder / "empty"
    full.mkdir()
    empty.mkdir()
    many_jobs.fill(full, site.spec["jobs"], many_jobs.later)
    retention_fill.fill(str(full / "kronforce.db"), site.spec["executions"], AGE_DAYS)
    with process.controller(full) as one, process.controller(empty) as other:
        one.start()
        other.start()
        with process.agents(one, 1, 64), process.agents(other, 1, 64):
            ratios, least = [], 0
            for number in range(PAIRS):
                costs = {}
                for each in (one, other) if number % 2 else (other, one):
                    costs[each.pid], runs = _cost(each, number, site)
                    least = min(least or runs, runs)
                ratios.append(costs[one.pid] / costs[other.pid])
            return {"n": least, "ratio": median(ratios), "us": costs[one.pid] * 1e6}


def _cost(of: process.Controller, number: int, site: Site) -> tuple[float, int]:
    """Seconds of the controller's CPU a run, and how many runs that was."""
    job = {"name": f"load-{number}", "task": {"noop": {}}, "target": {"any": {}},
           "schedule": {"on_demand": {}}}  # fmt: skip
    spec = {"kind": "sustained", "batch": 64, "callers": 8, "outstanding": 512, "job": job,
            "address": of.address, "warm_secs": WARM_SECS, "seconds": site.seconds}  # fmt: skip
    cpu, used, runs = 0.0, 0.0, 0
    for told in _events(of, spec, of.folder / "load.log"):
        if told["event"] == "begin":
            cpu = of.cpu_secs()
        elif told["event"] == "end":
            used, runs = of.cpu_secs() - cpu, told["n"]
    if not runs:
        raise Void((of.folder / "load.log").read_text()[-2000:])
    return used / runs, runs


def _events(of: process.Controller, spec: dict[str, Any], log: Path) -> Iterator[dict[str, Any]]:
    with log.open("wb") as errors:
        load = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", json.dumps(spec)],
            cwd=product.CHECKOUT,
            env={**product.environment(), "KRONFORCE_KEY": of.key},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert load.stdout is not None
        yield from map(json.loads, load.stdout)
    finally:
        load.kill()
        load.wait()
