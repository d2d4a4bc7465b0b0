"""The figures of scale: rows, floors and sizes. `--scale 0.1` makes all of them smaller."""

from __future__ import annotations

from typing import Any

from tests.bench.scenario import Row, Scenario

NOOP: dict[str, Any] = {"noop": {}}


def _row(id: str, what: str, key: str, unit: str, floor: float, reach: float | None) -> Row:  # noqa: A002
    return Row(id=id, what=what, key=key, unit=unit, floor=floor, reach=reach)


def _scenario(
    name: str, load: dict[str, Any], seconds: float, *rows: Row, postgresql: bool = False
) -> Scenario:
    return Scenario(
        name=name, rows=rows, task=NOOP, load=load, seconds=seconds, postgresql=postgresql
    )


SCENARIOS: tuple[Scenario, ...] = (
    _scenario(
        "idle", {"kind": "idle", "agents": 1_000, "jobs": 100_000}, 60,
        _row("idle_cpu", "CPU of a controller with 1,000 connected agents and 100,000 scheduled "
             "jobs, none due, of a core", "cpu", "%", 3, 1),
        _row("idle_rss", "its peak memory", "rss", "MB", 400, 250),
        _row("idle_writes", "its database writes in 10 s", "writes", "", 1, None),
    ),
    _scenario(
        "idle_postgresql", {"kind": "idle", "agents": 1_000, "jobs": 100_000}, 60,
        _row("idle_writes_postgresql", "the same on PostgreSQL, its lease among them", "writes",
             "", 2, None),
        postgresql=True,
    ),
    _scenario(
        "herd", {"kind": "herd", "jobs": 10_000, "agents": 4, "slots": 64, "ahead": 40}, 10,
        _row("herd", "10,000 no-op jobs due in the same second, 4 agents of 64 slots: the last "
             "start, late by", "last", "s", 5, 2),
    ),
    _scenario(
        "start_100k", {"kind": "starting", "jobs": 100_000}, 10,
        _row("start_100k", "start with 100,000 scheduled jobs, until it serves", "secs", "s", 3, 1),
    ),
    _scenario(
        "start_1m", {"kind": "starting", "jobs": 1_000_000, "rest": True}, 65,
        _row("start_1m", "the same with 1,000,000", "secs", "s", 15, None),
        _row("start_1m_rss", "its peak memory", "rss", "MB", 600, None),
        _row("start_1m_tick", "its CPU at rest against a controller with 10 jobs", "ratio", "×",
             1.5, 1),
    ),
    _scenario(
        "fire_lag", {"kind": "fire_lag", "jobs": 200, "slots": 64}, 30,
        _row("fire_lag_p99", "nominal instant to committed run, told to a watch, 200 jobs due at "
             "every second, p99", "p99", "ms", 100, 30),
    ),
    _scenario(
        "reconnect", {"kind": "reconnect", "agents": 5_000}, 10,
        _row("reconnect", "5,000 agent streams back in session after a restart, start included",
             "secs", "s", 15, 6),
    ),
    _scenario(
        "cost_ratio", {"kind": "cost_ratio", "jobs": 10_000, "executions": 1_000_000}, 4,
        _row("cost_ratio", "CPU of one run with 10,000 jobs and 1,000,000 stored executions, "
             "against an empty store", "ratio", "×", 1.5, 1.1),
    ),
)  # fmt: skip
