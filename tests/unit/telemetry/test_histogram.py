"""Histograms: every observation once, in the bucket where Prometheus looks for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kronforce.telemetry.histogram import Histogram


def test_an_observation_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)

    read = histogram.read()

    assert read.buckets == ((1.0, 2), (2.0, 4))
    assert (read.count, read.sum) == (5, 14.0)


@given(st.lists(st.floats(0, 100)))
def test_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)

    read = histogram.read()

    assert all(count == sum(v <= bound for v in values) for bound, count in read.buckets)
    assert read.count == len(values)
