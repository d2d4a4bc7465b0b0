"""Time as an argument: the only module of the controller that reads a clock.

Instants are aware UTC datetimes (or integer microseconds since the epoch, as
the store keeps them); durations and deadlines are seconds on the monotonic
clock, so that a jump of the wall clock moves no running timer. Loops sleep
through the clock as well, which lets a test drive them with `ManualClock` and
never wait for real. Nothing else belongs here.
"""

# ruff: noqa: ASYNC109 - this seam is where a timeout becomes a deadline of the injected clock

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    return (instant - EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since the epoch, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def next_tick(clock: Clock, secs: float) -> float:
    """The next multiple of so many seconds on the monotonic clock.

    Loops that look at something every second all look at the same moment: a controller that has
    nothing to do is woken once a second, and not once for each of them.
    """
    return (clock.monotonic() // secs + 1) * secs


class Clock(Protocol):
    """What the controller knows of time."""

    def now(self) -> datetime:
        """The instant, aware, in UTC."""
        ...

    def now_us(self) -> int:
        """The instant as microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; only differences mean anything."""
        ...

    async def sleep_until(self, deadline: float) -> None:
        """Return once `monotonic()` has reached `deadline`."""
        ...

    async def wait(self, event: asyncio.Event, timeout: float | None = None) -> bool:
        """Wait for the event; True if it is set, False after `timeout` seconds.

        The event is left as it is: level-triggered loops clear it themselves.
        """
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))

    async def wait(self, event: asyncio.Event, timeout: float | None = None) -> bool:
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(timeout):
                return await event.wait()
        except TimeoutError:
            return event.is_set()


class ManualClock:
    """A clock that a test moves by hand; sleepers wake when it passes their deadline.

    `advance` and `jump` must be called on the event loop's thread when
    somebody sleeps; reading the clock is safe from any thread.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now_us = to_us(start)
        self._monotonic_us = 1_000_000_000
        self._order = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        return from_us(self._now_us)

    def now_us(self) -> int:
        return self._now_us

    def monotonic(self) -> float:
        return self._monotonic_us / 1e6

    def advance(self, by: float | timedelta) -> None:
        """Let time pass: both clocks move, due sleepers wake in order of deadline."""
        step = _as_us(by)
        if step < 0:
            raise ValueError("time passes forward only; use jump() to move the wall clock back")
        self._now_us += step
        self._monotonic_us += step
        self._wake_due()

    def jump(self, by: float | timedelta) -> None:
        """Move the wall clock alone, either way, as an operator or NTP would."""
        self._now_us += _as_us(by)

    @property
    def sleeping(self) -> int:
        """How many sleepers (`sleep_until`, or `wait` with a timeout) there are now."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def next_deadline(self) -> float | None:
        """The earliest deadline anybody sleeps for, on the monotonic clock."""
        return min((at for at, _, future in self._sleepers if not future.done()), default=None)

    async def until_sleeping(self, count: int = 1) -> None:
        """Wait until at least `count` sleepers sleep: the loop under test is idle."""
        while self.sleeping < count:
            self._changed.clear()
            await self._changed.wait()

    async def sleep_until(self, deadline: float) -> None:
        if deadline <= self.monotonic():
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (deadline, self._order, future))
        self._changed.set()
        await future

    async def wait(self, event: asyncio.Event, timeout: float | None = None) -> bool:
        if event.is_set():
            return True
        if timeout is None:
            return await event.wait()
        tasks = (
            asyncio.ensure_future(event.wait()),
            asyncio.ensure_future(self.sleep_until(self.monotonic() + timeout)),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return event.is_set()

    def _wake_due(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self.monotonic():
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)


def _as_us(by: float | timedelta) -> int:
    return by // _MICROSECOND if isinstance(by, timedelta) else round(by * 1e6)
