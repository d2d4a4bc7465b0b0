"""Some inputs of every target: that each works, and finds nothing at a first look."""

import logging

import pytest
from hypothesis import strategies as st

from tests.fuzz import running
from tests.fuzz.running import Slow, run
from tests.fuzz.target import plain
from tests.fuzz.targets import TARGETS

# The same inputs in every run of the suite; `make fuzz` takes others.
SEED = 20_261_121


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_among_a_few_inputs(name, tmp_path, caplog, monkeypatch):
    # Other tests use the same cores: what is slow is for `make fuzz` to say.
    monkeypatch.setattr(running, "SLOW_SECS", 10.0)
    caplog.set_level(logging.CRITICAL, logger="kronforce")
    target = TARGETS[name]

    ran = run(target, tmp_path, first_seed=SEED, examples=target.short)

    assert not ran.found, ran.found
    assert ran.executions >= min(target.short, 10)


def test_an_exception_that_a_decoder_does_not_declare_is_found_with_its_input(tmp_path):
    def check(number):
        assert number < 1_000

    ran = run(plain("broken", st.integers(), check), tmp_path, first_seed=1, examples=200)

    assert ran.found.endswith("input: 1000")


def test_an_input_that_takes_too_long_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "SLOW_SECS", 0.005)

    def check(number):
        if number > 7:
            sum(range(1_000_000))

    ran = run(plain("slow", st.integers(0, 20), check), tmp_path, first_seed=1, examples=50)

    assert Slow.__name__ in ran.found


def test_memory_that_one_input_takes_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "MOST_BYTES", 16 << 20)
    size = (running._peak_bytes() - running._rss_bytes()) + (64 << 20)

    def check(number):
        bytearray(b"x") * (size if number > 7 else 1)

    ran = run(plain("hungry", st.integers(0, 20), check), tmp_path, first_seed=1, examples=50)

    assert running.Hungry.__name__ in ran.found


def test_the_same_seed_gives_the_same_inputs(tmp_path):
    taken = []
    target = plain("seen", st.integers(0, 2**64), taken.append)
    run(target, tmp_path / "a", first_seed=5, examples=20)
    first = list(taken)
    taken.clear()
    run(target, tmp_path / "b", first_seed=5, examples=20)

    assert taken == first
