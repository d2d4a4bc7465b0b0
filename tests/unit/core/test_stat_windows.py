"""Which buckets a span of time is made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.stat_windows import (
    BUCKETS_MAX,
    DAY,
    DAY_US,
    HOUR,
    HOUR_US,
    LENGTH_US,
    MINUTE,
    MINUTE_US,
    kept_from,
    list_window,
    timeline_window,
)
from kronforce.errors import InvalidArgument

# Half past twelve on some day.
NOW = 20_000 * DAY_US + 12 * HOUR_US + 30 * MINUTE_US


@given(
    st.sampled_from([0, MINUTE, HOUR, DAY]),
    st.integers(1, 500 * DAY_US),
    st.integers(-HOUR_US, 500 * DAY_US),
)
def test_a_timeline_is_whole_buckets_around_its_span_or_is_refused(level, length, ago):
    until = NOW - ago
    try:
        window = timeline_window(level, until - length, until, NOW)
    except InvalidArgument:
        return
    size = LENGTH_US[window.level]
    asked = max(until - length, kept_from(window.level, NOW))
    assert window.since <= asked < window.since + size
    assert window.until - size < min(until, NOW + 1) <= window.until
    assert window.since >= kept_from(window.level, NOW)
    assert 1 <= len(window.starts) == window.count <= BUCKETS_MAX
    assert level in (0, window.level)


@pytest.mark.parametrize(
    ("back", "level"),
    [(HOUR_US, MINUTE), (DAY_US, HOUR), (7 * DAY_US, HOUR), (30 * DAY_US, DAY)],
)
def test_the_shortest_buckets_that_are_kept_are_chosen(back, level):
    assert timeline_window(0, NOW - back, None, NOW).level == level


@pytest.mark.parametrize(("level", "count"), [(0, 25), (MINUTE, 61), (HOUR, 25), (DAY, 31)])
def test_without_a_span_it_ends_now(level, count):
    window = timeline_window(level, None, None, NOW)
    assert (window.count, window.until >= NOW) == (count, True)


@pytest.mark.parametrize(
    ("level", "since", "until", "said"),
    [
        (MINUTE, NOW - 4 * HOUR_US, None, "minutes are kept for 3 hours"),
        (HOUR, NOW - 9 * DAY_US, None, "hours are kept for 8 days"),
        (0, NOW, NOW - 1, "not before until"),
        (0, NOW + DAY_US, None, "lies ahead"),
        (DAY, NOW - 500 * DAY_US, NOW - 450 * DAY_US, "400 days"),
    ],
)
def test_what_is_not_kept_is_refused_with_what_is(level, since, until, said):
    with pytest.raises(InvalidArgument, match=said):
        timeline_window(level, since, until, NOW)


def test_lists_look_at_hours_of_two_days_and_at_days_of_more():
    assert list_window(NOW - 2 * DAY_US, None, NOW).level == HOUR
    assert list_window(NOW - 3 * DAY_US, None, NOW).level == DAY
    assert list_window(None, None, NOW).count == 8
    assert list_window(0, None, NOW).since == kept_from(DAY, NOW)


def test_an_instant_that_begins_a_bucket_is_in_it():
    midnight = 20_000 * DAY_US
    for window in (timeline_window(HOUR, None, None, midnight), list_window(None, None, midnight)):
        assert window.starts[-1] == midnight
