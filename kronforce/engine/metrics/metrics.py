"""What the controller says of itself, gathered for whoever asks: /metrics.

Nothing here counts: parts count as they work, the store is read seldom
(`readings.py`), and this looks at both when somebody scrapes. Answers are kept
for a second, so that a scraper gone wild costs one look a second.
"""

from __future__ import annotations

import asyncio

from prometheus_client.process_collector import ProcessCollector

from kronforce.clock import Clock
from kronforce.core.lifecycle import TERMINAL, State
from kronforce.engine.engine import Engine
from kronforce.engine.metrics.readings import Reading, Readings
from kronforce.store.agents import AgentRow
from kronforce.store.hot.committer import Committer
from kronforce.store.store import Store
from kronforce.telemetry import metrics as m
from kronforce.telemetry.calls import CallCounts, HttpReading, UnderWay
from kronforce.telemetry.loop_lag import LoopLag
from kronforce.telemetry.metrics import Family, Samples
from kronforce.v1.run_pb2 import Trigger

# An answer serves everybody who asks within this time.
KEEP_SECS = 1.0

SECOND = 1_000_000


class Metrics:
    """One per process; `start` when they are going to be asked for."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        clock: Clock,
        calls: CallCounts,
        under_way: UnderWay,
        version: str,
        http: HttpReading | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._calls = calls
        self._under_way = under_way
        self._version = version
        self._http = http
        self._tally = engine.job_tally
        self._readings = Readings(store, clock)
        self._lag = LoopLag(clock)
        self._process = ProcessCollector(registry=None)
        self._kept = b""
        self._keep_until = clock.monotonic()

    def start(self) -> None:
        """Begin to measure what is only measured for metrics."""
        tasks = self._engine.tasks
        self._tally.begin(self._engine.scheduler, tasks)
        tasks.spawn(self._lag.run(), name="loop-lag")

    @property
    def counted(self) -> asyncio.Event:
        """Set once jobs have been counted."""
        return self._tally.loaded

    async def stop(self) -> None:
        """End what is under way; what `start` began ends with the engine."""
        await self._readings.stop()

    async def text(self) -> bytes:
        """The answer to a scrape; never fails for a store that is away."""
        if self._clock.monotonic() >= self._keep_until:
            reading = await self._readings.latest()
            snapshot = self._snapshot(reading)
            self._kept = m.render(snapshot, self._process.collect())
            self._keep_until = self._clock.monotonic() + KEEP_SECS
        return self._kept

    def _snapshot(self, reading: Reading | None) -> dict[Family, Samples]:
        return {
            m.BUILD: {
                (self._version, "sqlite" if self._store.database.sqlite else "postgresql"): 1
            },
            **self._work(),
            **self._jobs(),
            **self._agents(),
            **self._commits(),
            **self._stored(reading),
            **self._controller(),
            **(m.http_families(self._http) if self._http else {}),
        }

    def _work(self) -> dict[Family, Samples]:
        counts = self._engine.counts
        return {
            m.EXECUTIONS: _by_state(counts.executions),
            m.RUNS: _by_state(counts.runs),
            m.TRIGGERED: {
                (name.removeprefix("TRIGGER_").lower(),): counts.triggered[number]
                for name, number in Trigger.items()
                if number
            },
            m.PENDING: _one(counts.waiting),
            m.PENDING_LIMIT: _one(self._engine.capacity.max_pending),
            m.RUNNING: _one(counts.running),
            m.START_DELAY: {(): counts.start_delay.read()},
        }

    def _jobs(self) -> dict[Family, Samples]:
        total = self._tally.total
        if total is None:
            # Still being read.
            return {}
        by_type: Samples = {(name,): count for name, count in self._tally.by_type.items() if name}
        return {m.JOBS: _one(total), m.JOBS_BY_TASK_TYPE: by_type}

    def _agents(self) -> dict[Family, Samples]:
        sessions = self._engine.dispatcher.sessions
        states = {"online": 0, "offline": 0, "draining": 0}
        for row in self._engine.directory.rows.values():
            states[_state_of(row, connected=row.key in sessions)] += 1
        return {
            m.AGENTS: {(name,): float(count) for name, count in states.items()},
            m.SLOTS: _one(sum(session.slots for session in sessions.values())),
            m.SLOTS_BUSY: _one(sum(session.slots - session.free for session in sessions.values())),
        }

    def _commits(self) -> dict[Family, Samples]:
        parts: dict[str, Committer] = {"main": self._store.main, "output": self._store.output}
        return {
            m.COMMIT: {(name,): part.seconds.read() for name, part in parts.items()},
            m.WRITES: {(name,): part.writes for name, part in parts.items()},
            m.FAILED_WRITES: {(name,): part.failed_writes for name, part in parts.items()},
        }

    def _stored(self, reading: Reading | None) -> dict[Family, Samples]:
        if reading is None:
            return {m.DB_OK: _one(0)}
        store = reading.store
        waited = 0.0
        if store.oldest_ready is not None:
            waited = max(0, self._clock.now_us() - store.oldest_ready) / SECOND
        found: dict[Family, float | None] = {
            m.DB_OK: 1,
            m.GROUPS: store.groups,
            m.DB_SIZE: store.size,
            m.DB_WAL_SIZE: store.wal_size,
            m.DB_OUTPUT_SIZE: reading.output_size,
            m.DB_XMIN_AGE: reading.xmin_age,
            m.OLDEST_WAITING: waited,
        }
        return {family: _one(value) for family, value in found.items() if value is not None}

    def _controller(self) -> dict[Family, Samples]:
        capacity, calls = self._engine.capacity, self._calls
        return {
            m.DISK_FREE: _one(capacity.disk_free),
            m.DISK_RESERVE: _one(capacity.disk_reserve),
            m.LOOP_LAG: {(): self._lag.seconds.read()},
            m.CALLS: {key: float(count) for key, count in calls.ended.items()},
            m.CALL_SECONDS: {(name,): float(secs) for name, secs in calls.seconds.items()},
            m.CALLS_RUNNING: {
                ("unary",): float(self._under_way.unary),
                ("stream",): float(self._under_way.streams),
            },
            m.LOOP_TASKS: _one(len(asyncio.all_tasks())),
        }


def _one(value: float) -> Samples:
    return {(): value}


def _by_state(counts: list[int]) -> Samples:
    """Of every state that something can end in, from the first scrape on: rates need a zero."""
    return {(state.word,): counts[state] for state in State if state in TERMINAL}


def _state_of(row: AgentRow, *, connected: bool) -> str:
    if row.draining:
        return "draining"
    return "online" if connected else "offline"
