"""Percentiles out of classes that double."""

from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.size_classes import SizeCount, class_of, percentile_us

DURATIONS = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


def in_classes(durations):
    sizes = {class_of(each) for each in durations}
    return [
        SizeCount(size=size, count=len(of), longest_us=max(of))
        for size in sizes
        if (of := [each for each in durations if class_of(each) == size])
    ]


@given(DURATIONS, st.floats(0.01, 1))
def test_an_estimate_is_in_the_class_of_the_true_one_and_never_beyond_what_was_seen(took, share):
    found = percentile_us(in_classes(took), share)

    ordered = sorted(took)
    rank = share * len(took)
    true = next(each for number, each in enumerate(ordered, 1) if number >= rank)
    assert class_of(found) in (class_of(true), class_of(true) - 1)
    assert found <= max(took)


@given(DURATIONS)
def test_all_of_them_took_at_most_the_longest(took):
    assert percentile_us(in_classes(took), 1.0) == max(took)


def test_of_nothing_there_is_none():
    assert percentile_us([], 0.95) == 0


def test_a_clock_that_went_back_counts_as_no_time():
    assert class_of(-5) == 0
