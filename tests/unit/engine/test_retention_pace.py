"""Batches of retention are as large as the writer can spare, and no larger."""

from kronforce.engine.retention import LEAST, LEAST_PAUSE_SECS, SHARE, SLOW_SECS, Pace

MOST = 200


def test_a_batch_grows_while_it_is_quick_and_stays_within_its_limit():
    pace = Pace(MOST)
    assert pace.size == LEAST
    sizes = []
    for _ in range(30):
        pace.note(pace.size, SLOW_SECS / 10)
        sizes.append(pace.size)
    assert sizes == sorted(sizes)
    assert sizes[-1] == MOST


def test_a_slow_batch_halves_the_next_one_but_not_below_the_least():
    pace = Pace(MOST)
    for _ in range(30):
        pace.note(pace.size, 0.0)
    pace.note(MOST, 2 * SLOW_SECS)
    assert pace.size == MOST // 2
    for _ in range(10):
        pace.note(pace.size, 2 * SLOW_SECS)
    assert pace.size == LEAST


def test_a_batch_that_found_little_says_nothing_about_the_size():
    pace = Pace(MOST)
    pace.note(3, 0.0)
    assert pace.size == LEAST


def test_the_pause_leaves_the_writer_to_the_others_most_of_the_time():
    pace = Pace(MOST)
    assert pace.note(LEAST, 0.1) == SHARE * 0.1
    assert pace.note(LEAST, 0.0) == LEAST_PAUSE_SECS
