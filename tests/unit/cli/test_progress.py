"""The bar for what takes longer than a second."""

import pytest

from kronforce.cli.progress import Bar
from kronforce.clock import ManualClock

MIB = 1 << 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_what_is_quick_shows_nothing(clock, capsys):
    bar = Bar(clock, shown=True)
    bar("copying", 1 * MIB, 4 * MIB)
    bar.clear()
    assert capsys.readouterr().err == ""


def test_after_a_second_it_says_how_far_and_is_gone_at_the_end(clock, capsys):
    bar = Bar(clock, shown=True)
    clock.advance(2)
    bar("copying", 1 * MIB, 4 * MIB)
    shown = capsys.readouterr().err
    assert "copying" in shown
    assert "1.0 MiB of 4.0 MiB" in shown
    assert shown.count("━") == 7

    bar("copying", 2 * MIB, 4 * MIB)
    assert capsys.readouterr().err == "", "not more often than it can be read"
    clock.advance(1)
    bar("pg_dump", 0, 0)
    assert "pg_dump …" in capsys.readouterr().err
    bar.clear()
    assert capsys.readouterr().err == "\r\x1b[K"


def test_where_nobody_looks_there_is_none(clock, capsys):
    bar = Bar(clock, shown=False)
    clock.advance(9)
    bar("copying", 1 * MIB, 4 * MIB)
    bar.clear()
    assert capsys.readouterr().err == ""
