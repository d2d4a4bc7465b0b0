"""Sums of the statistics, as numbers that people read."""

from __future__ import annotations

from collections.abc import Mapping

from kronforce.core.lifecycle import State
from kronforce.core.size_classes import SizeCount, percentile_us
from kronforce.store.stats import FAILURES, Sums
from kronforce.v1 import stats_service_pb2 as pb

_US_PER_S = 1_000_000

# The share that `p95_secs` is named after.
_P95 = 0.95


def tally_message(sums: Sums, *, by_runs: bool = True) -> pb.Tally:
    """The sums; the rate is that of runs, or of executions."""
    tally = pb.Tally(
        runs=_outcomes(sums.runs),
        executions=_outcomes(sums.executions),
        busy_secs=secs(sums.busy_us),
    )
    counts = sums.runs if by_runs else sums.executions
    well = counts.get(State.SUCCEEDED, 0)
    judged = well + sum(counts.get(state, 0) for state in FAILURES)
    if judged:
        tally.success_rate = well / judged
    if sums.started:
        tally.mean_secs = secs(sums.busy_us) / sums.started
        tally.max_secs = secs(sums.longest_us)
    if sums.waits:
        tally.mean_wait_secs = secs(sums.wait_us) / sums.waits
    return tally


def p95_secs(sizes: list[SizeCount]) -> float | None:
    """Of executions by size; None of none."""
    return secs(percentile_us(sizes, _P95)) if sizes else None


def secs(microseconds: int) -> float:
    """Seconds."""
    return microseconds / _US_PER_S


def _outcomes(counts: Mapping[int, int]) -> pb.OutcomeCounts:
    message = pb.OutcomeCounts(total=sum(counts.values()))
    for state, count in counts.items():
        setattr(message, State(state).word, count)
    return message
