import signal

import pytest

from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import outcome
from kronforce_agent.launcher.protocol import Exited


def exited(
    code: int | None = None,
    number: int | None = None,
    *,
    timed_out: bool = False,
    cancelled: bool = False,
    output_cut: bool = False,
    leftovers: int = 0,
    killed: int = 0,
) -> Exited:
    return Exited(
        execution_id="e",
        fence=1,
        exit_code=code,
        signal=number,
        timed_out=timed_out,
        cancelled=cancelled,
        output_cut=output_cut,
        leftovers=leftovers,
        killed=killed,
    )


@pytest.mark.parametrize(
    ("end", "state", "reason", "message"),
    [
        (exited(0), ex.EXECUTION_STATE_SUCCEEDED, "", ""),
        (exited(3), ex.EXECUTION_STATE_FAILED, "exit_code", "exit 3"),
        (exited(None, 9), ex.EXECUTION_STATE_FAILED, "signal", "killed by SIGKILL"),
        (exited(None, 99), ex.EXECUTION_STATE_FAILED, "signal", "killed by signal 99"),
        (exited(0, cancelled=True), ex.EXECUTION_STATE_SUCCEEDED, "", ""),
        (exited(1, cancelled=True), ex.EXECUTION_STATE_CANCELLED, "", "cancelled"),
        (exited(None, 15, cancelled=True), ex.EXECUTION_STATE_CANCELLED, "", "cancelled"),
        (
            exited(None, 15, timed_out=True),
            ex.EXECUTION_STATE_TIMED_OUT,
            "",
            "ended by its timeout of 2.5 s",
        ),
        (
            exited(0, timed_out=True),
            ex.EXECUTION_STATE_TIMED_OUT,
            "",
            "ended by its timeout of 2.5 s",
        ),
    ],
)
def test_an_end_of_a_process_is_this_outcome(
    end: Exited, state: ex.ExecutionState.ValueType, reason: str, message: str
) -> None:
    found = outcome.of_process(end, 2.5)
    assert (found.state, found.reason, found.message) == (state, reason, message)


def test_a_signal_is_reported_without_an_exit_code() -> None:
    found = outcome.of_process(exited(None, signal.SIGSEGV), 0)
    assert (found.exit_code, found.signal) == (None, signal.SIGSEGV)


def test_processes_that_were_killed_after_the_end_are_counted_and_told() -> None:
    found = outcome.of_process(exited(0, killed=2), 0)
    assert found.killed_processes == 2
    assert found.message == "processes that it left running were killed: 2"


def test_what_ends_with_its_agent_keeps_its_notes() -> None:
    ended = outcome.of_process(exited(None, 15, cancelled=True, leftovers=2), 0)
    found = outcome.agent_stopped(ended)
    assert found.reason == "agent_stopped"
    assert found.message == "its agent was stopped; 2 processes could not be killed"
    assert (found.state, found.signal) == (ex.EXECUTION_STATE_CANCELLED, 15)


def test_nobody_is_surprised_that_a_cancel_kills() -> None:
    found = outcome.of_process(exited(None, 9, cancelled=True, killed=2), 0)
    assert (found.killed_processes, found.message) == (2, "cancelled")


def test_what_went_wrong_at_the_end_is_noted_behind_the_outcome() -> None:
    found = outcome.of_process(exited(2, output_cut=True, leftovers=3), 0)
    assert found.message.startswith("exit 2; ")
    assert "cut" in found.message
    assert "3 processes could not be killed" in found.message
