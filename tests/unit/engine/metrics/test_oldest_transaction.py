"""The age of the oldest open transaction, from what every snapshot shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kronforce.engine.metrics.oldest_transaction import KEPT, OldestTransaction


def test_with_nothing_open_it_is_zero() -> None:
    assert OldestTransaction().seen(5.0, 100, 100) == 0


def test_it_counts_from_the_first_look_at_which_the_transaction_was_open() -> None:
    oldest = OldestTransaction()

    ages = [oldest.seen(at, 100, xmax) for at, xmax in ((0.0, 101), (10.0, 150), (20.0, 300))]

    assert ages == [0, 10, 20]


def test_when_it_ends_the_age_is_the_next_ones() -> None:
    oldest = OldestTransaction()
    oldest.seen(0.0, 100, 101)
    oldest.seen(10.0, 100, 151)

    # 150 was open at the second look, and is the oldest now.
    assert oldest.seen(30.0, 150, 200) == 20
    assert oldest.seen(40.0, 200, 200) == 0


def test_many_short_ones_are_no_old_one() -> None:
    oldest = OldestTransaction()

    assert {oldest.seen(at * 10.0, at * 50, at * 50 + 3) for at in range(100)} == {0}


def test_one_that_is_open_for_days_is_remembered_in_bounded_memory() -> None:
    oldest = OldestTransaction()

    for at in range(10 * KEPT):
        age = oldest.seen(float(at), 100, 101 + at)

    assert age == 10 * KEPT - 1
    assert len(oldest._looks) <= KEPT


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), max_size=60))
def test_it_is_never_older_than_the_oldest_and_at_most_a_look_younger(
    transactions: list[tuple[int, int]],
) -> None:
    """Each begins at an instant and lasts; ids are given out in order, looks come every 3 s.

    Somebody else writes just before each look, so that xmax is all that was given out.
    """
    ordered = sorted(transactions)
    oldest = OldestTransaction()
    for look in range(0, 60, 3):
        begun = [(n, at, at + lasts) for n, (at, lasts) in enumerate(ordered, 1) if at <= look]
        open_ = [(n, at) for n, at, end in begun if end > look]
        xmax = len(begun) + 1
        age = oldest.seen(float(look), min((n for n, _ in open_), default=xmax), xmax)
        truth = max((look - at for _, at in open_), default=0)
        assert truth - 3 <= age <= truth
