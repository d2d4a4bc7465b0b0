"""The controller's metrics for whoever serves them: made when somebody asks first.

Until then nothing is read and nothing imported for them. The first answer waits a moment for jobs
to be counted, so that whoever just looks sees all the documented names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronforce import __version__
from kronforce.clock import Clock
from kronforce.engine.engine import Engine
from kronforce.store.store import Store
from kronforce.telemetry.calls import CallCounts, HttpReading, UnderWay

if TYPE_CHECKING:
    from kronforce.engine.metrics.metrics import Metrics

# Jobs are read in pages, some 20,000 a second.
FIRST_SECS = 2.0


class MetricsSource:
    """One per controller. `http` is what its gateway counts, once there is one."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        clock: Clock,
        calls: CallCounts,
        under_way: UnderWay,
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._calls = calls
        self._under_way = under_way
        self._metrics: Metrics | None = None
        self.http: HttpReading | None = None

    async def text(self) -> bytes:
        """What Prometheus reads."""
        if self._metrics is None:
            self._metrics = self._make()
            self._metrics.start()
            await self._clock.wait(self._metrics.counted, FIRST_SECS)
        return await self._metrics.text()

    def begin(self) -> None:
        """Make them now, for a listener that serves nothing else."""
        if self._metrics is None:
            self._metrics = self._make()
            self._metrics.start()

    async def stop(self) -> None:
        """End what is under way."""
        if self._metrics is not None:
            await self._metrics.stop()

    def _make(self) -> Metrics:
        # What nobody asked for costs no time at start.
        from kronforce.engine.metrics.metrics import Metrics  # noqa: PLC0415

        return Metrics(
            engine=self._engine,
            store=self._store,
            clock=self._clock,
            calls=self._calls,
            under_way=self._under_way,
            version=__version__,
            http=self.http,
        )
