"""Runs one target: batches of inputs, each with a seed of its own, until the time is over.

Found are exceptions that the decoder does not declare, inputs that take longer than `SLOW_SECS`
of CPU, and memory that one input takes or that stays. An input that never ends is ended by
`HANG_SECS`, with a traceback of where it stands; that ends the process.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import inspect
import os
import resource
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.target import Check, Target

# CPU of one input, of at most some 40 kB: a hundred times what the slowest good one takes.
SLOW_SECS = 1.0
HANG_SECS = 30.0
# Far more than a decoder of 40 kB needs, far less than a machine has.
MOST_BYTES = 512 << 20
# What may stay after a batch beyond what stayed after the first: hypothesis keeps some, too.
KEPT_BYTES = 192 << 20
LONGEST_LINE = 1_000


_QUIET = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)


class Slow(AssertionError):
    """An input that takes longer than it may."""


class Hungry(AssertionError):
    """Memory that is taken, or not given back."""


@dataclass(kw_only=True)
class Ran:
    """What came of a target."""

    target: str
    executions: int = 0
    secs: float = 0.0
    slowest_secs: float = 0.0
    kept_bytes: int = 0
    # The traceback with the smallest input that was found for it; empty: nothing was.
    found: str = ""
    # Of the batch that found it.
    seed: int = 0
    input: Any = None


def run(
    target: Target, folder: Path, *, first_seed: int, secs: float = 0.0, examples: int = 0
) -> Ran:
    """Run for so long, or (one batch) for so many inputs."""
    ran, began = Ran(target=target.name), time.monotonic()
    number = first_seed
    after_first = 0
    while True:
        place = folder / f"{number}"
        place.mkdir(parents=True)
        ran.found = _batch(target, place, number, examples or target.batch, ran, began + secs)
        ran.seed = number
        gc.collect()
        kept = _rss_bytes()
        after_first = after_first or kept
        ran.kept_bytes = max(0, kept - after_first)
        if not ran.found and ran.kept_bytes > KEPT_BYTES:
            ran.found = f"{ran.kept_bytes >> 20} MiB more than after the first batch"
        ran.secs = time.monotonic() - began
        if ran.found or examples or ran.secs >= secs:
            return ran
        number += 1


def _batch(target: Target, folder: Path, number: int, examples: int, ran: Ran, end: float) -> str:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        hosted = loop.run_until_complete(_Hosted.of(target, folder))
        try:
            body = _measured(hosted.check, loop, ran, end if not _is_short(end) else None)
            with warnings.catch_warnings(action="ignore"):  # an input may be long to print
                _decorated(target, body, number, examples)()
        except Exception:  # noqa: BLE001 - whatever comes out of a decoder is what is looked for
            return _told(ran.input)
        finally:
            loop.run_until_complete(hosted.close())
    return ""


def _told(value: Any) -> str:
    """The traceback and the input; the seed has the whole of what is too long to print."""
    lines = [*traceback.format_exc().splitlines(), f"input: {value!r}"]
    return "\n".join(line[:LONGEST_LINE] for line in lines)


def _is_short(end: float) -> bool:
    """Whether the number of inputs ends the batch, and not the time."""
    return end <= time.monotonic()


def _decorated(target: Target, body: Any, number: int, examples: int) -> Callable[[], None]:
    quiet = settings(_QUIET, max_examples=examples)
    decorated: Callable[[], None] = seed(number)(quiet(given(target.inputs)(body)))
    return decorated


def _measured(
    check: Check, loop: asyncio.AbstractEventLoop, ran: Ran, end: float | None
) -> Callable[[Any], None]:
    def body(value: Any) -> None:
        if end is not None and time.monotonic() > end:
            return
        faulthandler.dump_traceback_later(HANG_SECS, exit=True)
        peak, began = _peak_bytes(), time.process_time()
        # The last that is found is the smallest.
        ran.input = value
        try:
            answer = check(value)
            if inspect.isawaitable(answer):
                loop.run_until_complete(_awaited(answer))
        finally:
            # How long the next input takes to be made is not looked at.
            faulthandler.cancel_dump_traceback_later()
        took = time.process_time() - began
        ran.executions += 1
        ran.slowest_secs = max(ran.slowest_secs, took)
        if took > SLOW_SECS:
            raise Slow(f"{took:.2f} s of CPU")
        if _peak_bytes() - peak > MOST_BYTES:
            raise Hungry(f"{(_peak_bytes() - peak) >> 20} MiB for one input")

    return body


async def _awaited(answer: Any) -> None:
    await answer


class _Hosted:
    """What a check works with, opened and closed by one task, as task groups want it."""

    def __init__(self) -> None:
        self.check: Check
        self._over = asyncio.Event()
        self._task: asyncio.Task[None]

    @classmethod
    async def of(cls, target: Target, folder: Path) -> _Hosted:
        self, ready = cls(), asyncio.Event()
        self._task = asyncio.create_task(self._host(target, folder, ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            await self._task
        return self

    async def _host(self, target: Target, folder: Path, ready: asyncio.Event) -> None:
        async with target.opened(folder) as self.check:
            ready.set()
            await self._over.wait()

    async def close(self) -> None:
        self._over.set()
        await self._task


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
