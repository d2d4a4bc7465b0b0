"""The lines that explain a state to people."""

import pytest

from kronforce.api.convert.sentences import sentence
from kronforce.core.lifecycle import DERIVED, OPEN, Reason, State


@pytest.mark.parametrize(
    ("exit_code", "line"),
    [
        (1, "exit 1"),
        (127, "exit 127: command not found"),
        (137, "exit 137: killed by SIGKILL (out of memory?)"),
        (143, "exit 143: killed by SIGTERM"),
        (255, "exit 255"),
    ],
)
def test_an_exit_code_says_what_it_usually_means(exit_code: int, line: str) -> None:
    assert sentence(State.FAILED, Reason.EXIT_CODE, exit_code=exit_code) == line


def test_a_signal_is_named() -> None:
    assert sentence(State.FAILED, Reason.SIGNAL, signal_number=11) == "killed by SIGSEGV"


def test_every_derived_reason_of_an_open_execution_has_a_line() -> None:
    for reason in DERIVED:
        assert any(sentence(state, reason) for state in OPEN), reason


def test_a_reason_of_a_later_version_has_no_line_and_breaks_nothing() -> None:
    assert sentence(State.PENDING, "solar_flare") == ""
    assert sentence(99, "") == ""


def test_success_needs_no_words() -> None:
    assert sentence(State.SUCCEEDED, "", exit_code=0) == ""
