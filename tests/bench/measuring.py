"""One run of one scenario: product up, load on it, CPU read around the window, product down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine, postgresql, product, profiling, usage
from tests.bench.books import Void
from tests.bench.scale import cost_ratio, fire_lag, herd, idle, reconnect, starting
from tests.bench.scale.site import Site
from tests.bench.table import Scenario

SCALE = {
    "cost_ratio": cost_ratio.measure,
    "fire_lag": fire_lag.measure,
    "herd": herd.measure,
    "idle": idle.measure,
    "reconnect": reconnect.measure,
    "starting": starting.measure,
}
"""By a load's kind: these run in this process, on products that they start themselves."""

WARM_SECS = 2.0
"""Imports, first pages, plans, a steady queue: not what is measured."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says of a run."""

    folder: Path
    seconds: float | None = None
    output_bytes: int | None = None
    profile: str = ""
    history: int = 0
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`result` is the load generator's; `cores` are those used on average, by process.

    `fsync_ms` is what a synced page took in the data folder just before.
    """

    result: dict[str, Any]
    cores: dict[str, float]
    fsync_ms: float


class LoadFailed(Exception):
    """The load generator gave no figure; the message says why."""


def run_once(scenario: Scenario, settings: Settings, database: postgresql.Server | None) -> Outcome:
    """Raises LoadFailed, product.DidNotStart."""
    fsync_ms = machine.fsync_median_ms(settings.folder)
    if scenario.load["kind"] in SCALE:
        with ExitStack() as stack:
            db = ""
            if scenario.postgresql:
                assert database is not None
                db = stack.enter_context(postgresql.database(database))
            return _run_at_scale(scenario, settings, fsync_ms, db)
    with ExitStack() as stack:
        db, postmaster = "", 0
        if scenario.postgresql:
            assert database is not None
            db = stack.enter_context(postgresql.database(database))
            postmaster = database.postmaster
        running = stack.enter_context(
            product.running(
                settings.folder,
                slots=scenario.slots,
                db=db,
                postmaster=postmaster,
                history=_history(scenario, settings),
                stored_jobs=scenario.stored_jobs,
            )
        )
        process = stack.enter_context(_load(scenario, settings, running))
        try:
            result, cores = _follow(scenario, settings, running, process)
        finally:
            process.kill()
    return Outcome(result=result, cores=cores, fsync_ms=fsync_ms)


def _run_at_scale(
    scenario: Scenario, settings: Settings, fsync_ms: float, database: str
) -> Outcome:
    """What starts, ends and restarts a product by itself."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=settings.folder))
    site = Site(
        name=scenario.name,
        folder=folder,
        spec=_sized(scenario.load, settings.scale),
        seconds=settings.seconds or scenario.seconds,
        profile=settings.profile,
        database=database,
    )
    try:
        result = SCALE[scenario.load["kind"]](site)
    except Void as error:
        raise LoadFailed(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(result=result, cores=site.cores, fsync_ms=fsync_ms)


def _sized(load: dict[str, Any], part: float) -> dict[str, Any]:
    """The load with so large a part of its agents, jobs and executions."""
    sizes = ("agents", "jobs", "executions")
    return {k: max(1, round(v * part)) if k in sizes else v for k, v in load.items()}


def _load(
    scenario: Scenario, settings: Settings, running: product.Product
) -> subprocess.Popen[str]:
    job = {
        "name": scenario.name,
        "task": scenario.task or {"noop": {}},
        "target": {"any": {}},
        "schedule": {"on_demand": {}},
        **scenario.job,
    }
    spec = {
        **scenario.load,
        "address": running.address,
        "http": running.http,
        "job": job,
        "warm_secs": WARM_SECS,
        "pids": running.pids(),
        "seconds": settings.seconds or scenario.seconds,
    }
    if settings.output_bytes and "bytes" in spec:
        spec["bytes"] = settings.output_bytes
    spec["history"] = _history(scenario, settings)
    with (running.folder / "load.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", json.dumps(spec)],
            cwd=product.CHECKOUT,
            env={**product.environment(), "KRONFORCE_KEY": running.key},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _history(scenario: Scenario, settings: Settings) -> int:
    """Executions that are in the store before the product starts."""
    return settings.history or scenario.history


def _follow(
    scenario: Scenario,
    settings: Settings,
    running: product.Product,
    load: subprocess.Popen[str],
) -> tuple[dict[str, Any], dict[str, float]]:
    def look() -> usage.Snapshot:
        return usage.snapshot({**running.pids(), "load": [load.pid, os.getpid()]})

    cores: dict[str, float] = {}
    result: dict[str, Any] | None = None
    recording: profiling.Recording | None = None
    assert load.stdout is not None
    for line in load.stdout:
        told = json.loads(line)
        if told["event"] == "begin":
            begin = look()
            seconds = settings.seconds or scenario.seconds
            if settings.profile:
                pid = running.pids()[settings.profile][0]
                recording = profiling.Recording(settings.profile, pid, scenario.name, seconds)
        elif told["event"] == "end":
            cores = usage.cores_between(begin, look())
        else:
            result = told
    if result is None:
        raise LoadFailed(_logs(running.folder))
    if recording is not None:
        recording.wait()
    _no_process_left(running)
    for name, numbers in running.pids().items():
        result[f"rss_{name}"] = usage.peak_rss_mb(numbers[0])
    return result, cores


def _no_process_left(running: product.Product) -> None:
    left = usage.children(running.launcher) if running.launcher is not None else []
    if left:
        raise LoadFailed(f"{len(left)} processes of ended runs are still there")


def _logs(folder: Path) -> str:
    """The end of what everybody said, the load generator last."""
    names = ("controller", "agent", "load")
    ends = [(name, (folder / f"{name}.log").read_text().strip()[-1500:]) for name in names]
    return "\n".join(f"--- {name}: {text}" for name, text in ends if text)
