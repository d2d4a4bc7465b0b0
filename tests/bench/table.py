"""The rows of `make bench`: what is measured, how, and the figures to hold it against.

One scenario may give several rows; it runs once for all of them. Floors and reaches are promises:
a row that misses its floor stays in the table as it is.
"""

from __future__ import annotations

from typing import Any

from tests.bench.scale.rows import SCENARIOS as SCALE
from tests.bench.scenario import Row, Scenario

SHELL_TRUE = {"shell": {"command": "true"}}
SHELL_PLAIN = {"shell": {"command": "echo db-1.example.org '/srv/data/here' ghp_16C7e42F292c69"}}
SHELL_VALUES = {"shell": {"command": "echo {{BENCH_HOST}} '{{BENCH_PATH}}' \"{{BENCH_TOKEN}}\""}}
SHELL_ECHO = {"shell": {"command": "echo hi"}}
NOOP: dict[str, Any] = {"noop": {}}
OUTPUT_BYTES = 1 << 30
"""Of the one execution in `output_stored`: seconds at the floor, and 16 times the default cap."""

STORED_JOBS = 100_000
"""Of `schedule_preview`, before anything starts."""


def _latency(name: str, what: str, p50: tuple[float, float], p99: tuple[float, float]) -> Any:
    return tuple(
        Row(id=f"{name}_{part}", what=f"{what}, {part}", key=part, unit="ms", floor=f, reach=r)
        for part, (f, r) in (("p50", p50), ("p99", p99))
    )


def _first_output(name: str, task: Any, rate: int, count: int, rows: tuple[Row, ...]) -> Scenario:
    load = {"kind": "first_output", "rate": rate}
    return Scenario(name=name, rows=rows, task=task, load=load, seconds=count / rate)


def _rate(id: str, what: str, floor: float, reach: float | None, **more: Any) -> Scenario:  # noqa: A002
    """`outstanding` bounds the runs that are triggered and not finished, so that what is counted
    is sustained: nothing is triggered faster than it finishes."""
    row = Row(
        id=id, what=what, key="rate", unit="/s", floor=floor, reach=reach, higher_is_better=True
    )
    load = {"kind": "sustained", "batch": 64, "callers": 8, "outstanding": 512}
    load |= more.pop("load", {})
    return Scenario(name=id, rows=(row,), load=load, seconds=5, **{"task": NOOP} | more)


def _http(
    name: str, what: str, floor: float, reach: float, p99: float | None = None, **more: Any
) -> Scenario:
    """Calls of one kind over HTTP. `p99` is the floor of a second row, milliseconds."""
    rows = [
        Row(id=name, what=what, key="rate", unit="/s", floor=floor, reach=reach,
            higher_is_better=True)
    ]  # fmt: skip
    if p99 is not None:
        rows.append(
            Row(id=f"{name}_p99", what="its p99", key="p99", unit="ms", floor=p99, reach=None)
        )
    load = {"kind": "http", "connections": 32, "verb": "GET", "status": 200}
    load |= more.pop("load")
    return Scenario(name=name, rows=tuple(rows), task=NOOP, load=load, seconds=5, **more)


_HTTP_TRIGGER = {"call": "trigger", "verb": "POST", "path": "/api/jobs/{job_id}/trigger"}

SCENARIOS: tuple[Scenario, ...] = (
    _first_output(
        "first_output_noop", NOOP, 20, 1_000,
        _latency("first_output_noop",
                 "trigger → first output byte at a watching client, no-op, 20/s",
                 (5.5, 3.5), (12, 6)),
    ),
    _first_output(
        "first_output_200", NOOP, 200, 2_000,
        _latency("first_output_200", "the same at 200/s", (3.5, 2), (10, 4)),
    ),
    _first_output(
        "first_output_shell", SHELL_ECHO, 20, 1_000,
        _latency("first_output_shell", "the same at 20/s, real `sh -c`", (7, 4.5), (15, 8)),
    ),
    Scenario(
        name="shell_finished",
        rows=_latency("shell_finished", "trigger → finished, `sh -c true`, one at a time",
                      (8, 5.5), (0, 0))[:1],
        task=SHELL_TRUE,
        load={"kind": "one_at_a_time"},
        seconds=5,
    ),
    _rate("noop_batched_sqlite", "no-ops sustained, durable, TriggerJobs of 64, SQLite FULL",
          6_000, 12_000),
    _rate("noop_batched_postgresql", "the same on PostgreSQL", 3_000, 6_000, postgresql=True),
    _rate("noop_batched_256", "the same on SQLite with 256 slots", 8_000, 15_000, slots=256,
          load={"outstanding": 1_024, "callers": 16}),
    _rate("noop_unary", "the same, one TriggerJob each, 64 calls in flight", 2_000, 4_000,
          load={"batch": 1, "callers": 64}),
    _rate("shell_rate", "real `sh -c true` sustained, none left behind", 900, 1_600,
          task=SHELL_TRUE),
    Scenario(
        name="values_cost",
        rows=(
            Row(id="values_cost",
                what="CPU that three variables, one secret, add to an `sh -c`, pairs in turns",
                key="percent", unit="%", floor=5, reach=2),
        ),
        task=SHELL_PLAIN,
        load={
            "kind": "values_cost",
            "with_values": {
                "name": "with-values", "task": SHELL_VALUES,
                "target": {"any": {}}, "schedule": {"on_demand": {}},
            },
        },
        seconds=30,
    ),
    Scenario(
        name="output_stored",
        rows=(
            Row(id="output_stored", what="live output of one execution to one watcher, stored",
                key="mb_per_sec", unit="MB/s", floor=100, reach=200, higher_is_better=True),
            *(
                Row(id=f"output_stored_rss_{who}", what=f"its peak memory, {who}",
                    key=f"rss_{who}", unit="MB", floor=200, reach=None)
                for who in ("agent", "launcher", "controller")
            ),
        ),
        task={},
        load={"kind": "output", "bytes": OUTPUT_BYTES},
        seconds=0,
        job={"output_cap_bytes": 10 << 30},
    ),
    Scenario(
        name="schedule_preview",
        rows=_latency("schedule_preview", "PreviewSchedule of 10 fires, 100,000 jobs stored",
                      (2, 1), (5, 2.5)),
        task=NOOP,
        load={"kind": "preview", "jobs": STORED_JOBS},
        seconds=5,
        job={"schedule": {"cron": "0 0/30 2 * * MON-FRI"}, "timezone": "Europe/Berlin"},
        stored_jobs=STORED_JOBS,
    ),
    _http("http_get_job", "GET of one job, 32 connections", 3_000, 10_000, 25,
          load={"call": "get", "path": "/api/jobs/{job_id}"}),
    _http("http_list_jobs", "GET of 100 jobs of 1,000, 8 connections", 400, 1_000,
          load={"call": "list", "path": "/api/jobs?page_size=100", "connections": 8, "page": 100},
          stored_jobs=1_000),
    _http("http_list_executions", "GET of 100 executions, 8 connections", 1_100, 3_000,
          load={"call": "list", "path": "/api/executions?page_size=100", "connections": 8,
                "page": 100, "runs_first": 200}),
    _http("http_trigger", "POST trigger of a no-op, durable, 32 connections", 1_800, 3_500,
          load=_HTTP_TRIGGER),
    _http("http_trigger_10k", "the same with 10,000 jobs stored", 1_800, 3_500,
          load=_HTTP_TRIGGER, stored_jobs=10_000),
    _http("http_create", "POST of new jobs, 32 connections", 800, 2_000,
          load={"call": "create", "verb": "POST", "path": "/api/jobs", "status": 201,
                "body": {"task": {"type": "shell", "command": "true"},
                         "schedule": {"type": "cron", "value": "0 0 3 1 * *"}}}),
    Scenario(
        name="long_poll",
        rows=(
            Row(id="long_poll_p99", what="a waiting custom agent over HTTP has what was triggered, "
                "after its commit, p99", key="p99", unit="ms", floor=20, reach=5),
        ),
        task=NOOP,
        load={"kind": "long_poll"},
        seconds=5,
    ),
    Scenario(
        name="codec",
        rows=tuple(
            Row(id=f"codec_{way}", what=f"our JSON of a job against json_format, {way}, times as "
                "fast", key=way, unit="×", floor=floor, reach=5, higher_is_better=True)
            for way, floor in (("encode", 2), ("decode", 2.5))
        ),
        task=NOOP,
        load={"kind": "codec"},
        seconds=5,
    ),
    Scenario(
        name="sse",
        rows=(
            Row(id="sse", what="events to 200 watchers of one chatty execution, in all, no gap",
                key="rate", unit="/s", floor=30_000, reach=100_000, higher_is_better=True),
        ),
        task=NOOP,
        load={"kind": "sse", "watchers": 200, "beats": 1_000},
        seconds=5,
    ),
    Scenario(
        name="chain_cost",
        rows=(
            Row(id="chain_cost", what="CPU of the chain (identity, access, limits) a call, alone",
                key="us", unit="µs", floor=25, reach=10),
        ),
        task=NOOP,
        load={"kind": "chain_cost"},
        seconds=5,
    ),
    *(
        Scenario(
            name=name,
            rows=(
                Row(id=f"{name}_p999", what=f"TriggerJob p99.9 while retention deletes 1,000,000 "
                    f"executions, above a control, {store}",
                    key="above", unit="ms", floor=50, reach=20),
                Row(id=f"{name}_rate", what="runs that it deletes meanwhile", key="deleted_rate",
                    unit="/s", floor=1_000, reach=None, higher_is_better=True),
            ),
            task=NOOP,
            load={"kind": "retention", "rate": 100},
            seconds=40,
            postgresql=postgresql,
            history=1_000_000,
        )
        for name, store, postgresql in (
            ("retention", "SQLite FULL", False), ("retention_postgresql", "PostgreSQL", True),
        )
    ),
    *SCALE,
)  # fmt: skip
