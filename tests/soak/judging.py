"""Whether figures are flat; pure, so that it can be tested."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.soak.sampling import Sample

# Caches fill in it: at this load the largest, 20,000 answers that are kept as JSON, within half an
# hour, pages of SQLite sooner. A shorter soak sees them grow and says so.
WARM_UP = 0.3
# Of the time, at its beginning (after the warm-up) and end: ten minutes of two hours.
TENTH = 1 / 12
CPU_RATIO = 1.1
SIGMAS = 3.0
# Growth that no two hours would make a leak of: pages of an allocator, a pooled connection, a log
# that a reader keeps from being cut for a moment.
ALLOWED = {"memory": 8 << 20, "descriptors": 4.0, "threads": 2.0, "wal": 16 << 20}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One figure, from its first judged value to its last, along the line through all of them."""

    name: str
    begin: float
    end: float
    scatter: float
    flat: bool

    @property
    def grown(self) -> float:
        return self.end - self.begin


def judge(samples: Sequence[Sample]) -> list[Verdict]:
    """Every figure that all judged samples have, and the cost of a run."""
    judged = samples[int(len(samples) * WARM_UP) :]
    names = [name for name in judged[0].figures if all(name in each.figures for each in judged)]
    times = [each.at for each in judged]
    found = [_line(name, times, [each.figures[name] for each in judged]) for name in names]
    return [*found, _cost(judged)]


def _line(name: str, times: Sequence[float], values: Sequence[float]) -> Verdict:
    slope, intercept = statistics.linear_regression(times, values)
    begin, end = intercept + slope * times[0], intercept + slope * times[-1]
    rest = [value - intercept - slope * at for at, value in zip(times, values, strict=True)]
    scatter = statistics.pstdev(rest)
    allowed = max(ALLOWED[name.rpartition(" ")[2]], SIGMAS * scatter)
    return Verdict(name=name, begin=begin, end=end, scatter=scatter, flat=end - begin <= allowed)


def _cost(judged: Sequence[Sample]) -> Verdict:
    """Milliseconds of CPU of a run, of all processes, at the beginning and at the end."""
    part = max(1, round(len(judged) * TENTH / (1 - WARM_UP)))
    first = _cpu_of_a_run(judged[0], judged[part])
    last = _cpu_of_a_run(judged[-1 - part], judged[-1])
    flat = last <= CPU_RATIO * first
    return Verdict(name="cpu ms a run", begin=first, end=last, scatter=0.0, flat=flat)


def _cpu_of_a_run(one: Sample, other: Sample) -> float:
    return (other.cpu_secs - one.cpu_secs) * 1e3 / max(1, other.runs - one.runs)
