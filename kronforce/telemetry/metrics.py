"""What /metrics says: every family of numbers, and the text that Prometheus reads.

Pure: `render` makes text of a snapshot that somebody else has taken, so that
whoever serves it (the listener here, the gateway) says the same. A family that
the snapshot leaves out is left out of the text: better no number than a wrong
one. Names of the first block are documented promises. Labels have few values,
all known beforehand; no job, agent, group or principal is ever one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kronforce.telemetry.calls import HttpReading
from kronforce.telemetry.histogram import HistogramReading

# The version that every Prometheus reads.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Value = float | HistogramReading
# By the values of its labels, in their order; () where it has none.
Samples = Mapping[tuple[str, ...], Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One name; `help` is what its page and its # HELP line say."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


Snapshot = Mapping[Family, Samples]


def _counter(name: str, help_: str, *labels: str) -> Family:
    return Family(name=f"kronforce_{name}", kind="counter", help=help_, labels=labels)


def _gauge(name: str, help_: str, *labels: str) -> Family:
    return Family(name=f"kronforce_{name}", kind="gauge", help=help_, labels=labels)


def _histogram(name: str, help_: str, *labels: str) -> Family:
    return Family(name=f"kronforce_{name}", kind="histogram", help=help_, labels=labels)


EXECUTIONS = _counter(
    "executions_total", "Executions that ended, by how, since the controller started.", "status"
)
JOBS = _gauge("jobs_total", "Jobs.")
JOBS_BY_TASK_TYPE = _gauge("jobs_by_task_type", "Jobs by the type of their task.", "task_type")
AGENTS = _gauge("agents_total", "Enrolled agents: online, offline or draining.", "state")
GROUPS = _gauge("groups_total", "Groups of jobs, at most 10,000 are counted.")
DB_OK = _gauge("db_ok", "1 while the database answers in time, else 0.")
DB_SIZE = _gauge("db_size_bytes", "Size of the database: SQLite's main file, PostgreSQL's whole.")
DB_WAL_SIZE = _gauge("db_wal_size_bytes", "Size of the main file's write-ahead log; SQLite alone.")

BUILD = _gauge("build_info", "Always 1; which version runs, over which store.", "version", "store")
PENDING = _gauge("executions_pending", "Executions that have not started, whatever for.")
PENDING_LIMIT = _gauge("executions_pending_limit", "As many may be pending (max_pending).")
RUNNING = _gauge("executions_running", "Executions that an agent has started and not ended.")
OLDEST_WAITING = _gauge(
    "oldest_waiting_seconds",
    "How long the execution that waits longest for an agent has waited; 0 if none waits.",
)
START_DELAY = _histogram(
    "start_delay_seconds",
    "From the trigger of a run to the start of its first attempts, limits and queue included.",
)
TRIGGERED = _counter("runs_triggered_total", "Runs made, by what triggered them.", "trigger")
RUNS = _counter("runs_total", "Runs that ended, by how.", "status")
SLOTS = _gauge("agent_slots", "Slots of all connected agents.")
SLOTS_BUSY = _gauge("agent_slots_busy", "Those of them that are taken.")
DB_OUTPUT_SIZE = _gauge(
    "db_output_size_bytes", "Size of streamed output; on PostgreSQL part of db_size_bytes too."
)
DB_XMIN_AGE = _gauge(
    "db_xmin_age_seconds",
    "How long the oldest open transaction of the PostgreSQL cluster has held events back from "
    "their followers. PostgreSQL alone.",
)
COMMIT = _histogram(
    "commit_seconds", "One batch of writes, COMMIT included, by what it goes to.", "part"
)
WRITES = _counter("commit_writes_total", "Writes in those batches.", "part")
FAILED_WRITES = _counter(
    "commit_failed_writes_total", "Writes that the database did not take.", "part"
)
DISK_FREE = _gauge("disk_free_bytes", "Free where the data folder is.")
DISK_RESERVE = _gauge(
    "disk_reserve_bytes", "With less free than this (disk_reserve) triggers are refused."
)
LOOP_LAG = _histogram(
    "event_loop_lag_seconds", "How late the controller comes back to a timer: its own delay."
)
CALLS = _counter(
    "calls_total", "API calls that ended, by method and status code.", "method", "code"
)
CALL_SECONDS = _counter(
    "call_seconds_total", "Time that those calls took; a stream counts from its start.", "method"
)
CALLS_RUNNING = _gauge("calls_running", "API calls under way: unary, or streams.", "kind")
LOOP_TASKS = _gauge(
    "event_loop_tasks_running",
    "Tasks of the controller's event loop: a fixed few, and some for each call under way.",
)
HTTP_REQUESTS = _counter(
    "http_requests_total",
    "HTTP requests that ended, by verb, route (a template) and status.",
    *("method", "route", "status"),
)
HTTP_SECONDS = _counter(
    "http_request_seconds_total",
    "Time that those requests took; a stream counts from its start.",
    "route",
)
HTTP_RUNNING = _gauge("http_requests_running", "HTTP requests under way, streams among them.")

FAMILIES = (
    EXECUTIONS, JOBS, JOBS_BY_TASK_TYPE, AGENTS, GROUPS, DB_OK, DB_SIZE, DB_WAL_SIZE,
    BUILD, PENDING, PENDING_LIMIT, RUNNING, OLDEST_WAITING, START_DELAY, TRIGGERED, RUNS, SLOTS,
    SLOTS_BUSY, DB_OUTPUT_SIZE, DB_XMIN_AGE, COMMIT, WRITES, FAILED_WRITES, DISK_FREE,
    DISK_RESERVE, LOOP_LAG, CALLS, CALL_SECONDS, CALLS_RUNNING, LOOP_TASKS, HTTP_REQUESTS,
    HTTP_SECONDS, HTTP_RUNNING,
)  # fmt: skip


def http_families(http: HttpReading) -> dict[Family, Samples]:
    """What a gateway in this process has counted."""
    return {
        HTTP_REQUESTS: dict(http.read().items()),
        HTTP_SECONDS: {(route,): seconds for route, seconds in http.seconds.items()},
        HTTP_RUNNING: {(): http.open},
    }


def render(snapshot: Snapshot, process: Iterable[Metric] = ()) -> bytes:
    """The text; `process` is what prometheus_client says of this process, where it is wanted."""
    return generate_latest(_Once([*_known(snapshot), *process]))


def _known(snapshot: Snapshot) -> Iterator[Metric]:
    for family in FAMILIES:
        samples = snapshot.get(family)
        if samples is not None:
            yield _metric(family, samples)


def _metric(family: Family, samples: Samples) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in samples.items():
            assert isinstance(value, HistogramReading)
            histogram.add_metric(labels, _buckets(value), value.sum)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in samples.items():
        assert not isinstance(value, HistogramReading)
        metric.add_metric(labels, value)
    return metric


def _buckets(value: HistogramReading) -> list[tuple[str, float]]:
    return [*((str(bound), count) for bound, count in value.buckets), ("+Inf", value.count)]


class _Once(Collector):
    """What the library asks for its metrics."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
