"""The lines that `kronforce up --seed` prints of its example jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.cli.seeds import JOBS, line
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.run_pb2 import RunStatus, RunUpdate

NOW = datetime(2026, 11, 20, 14, 3, 20, tzinfo=UTC)
RUN = "01a1fb83-9798-7237-a2b3-d43026537f3a"


def at(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW + timedelta(seconds=seconds))
    return stamp


def said(job: str, state: RunStatus) -> str:
    text = line(job, RunUpdate(run_id=RUN, state=state), NOW)
    return text.partition(" ")[2]


def test_a_success_tells_how_long_it_took_and_which_run_it_was() -> None:
    state = RunStatus(
        execution_state=ExecutionState.EXECUTION_STATE_SUCCEEDED,
        attempt_number=1,
        started_at=at(-0.012),
        finished_at=at(0),
    )
    assert said("hello", state) == "✓ hello      12 ms   run 7f3a"


def test_a_failure_tells_its_attempt_its_exit_code_and_what_comes_next() -> None:
    state = RunStatus(
        execution_state=ExecutionState.EXECUTION_STATE_FAILED,
        attempt_number=1,
        exit_code=1,
        next_attempt_at=at(5),
    )
    assert said("flaky", state) == "✗ flaky    attempt 1 of 2: exit 1, again in 5 s"


def test_the_second_attempt_is_told_by_its_number() -> None:
    state = RunStatus(execution_state=ExecutionState.EXECUTION_STATE_SUCCEEDED, attempt_number=2)
    assert said("flaky", state) == "✓ flaky    attempt 2"


def test_an_end_without_an_exit_code_is_told_by_its_state() -> None:
    state = RunStatus(execution_state=ExecutionState.EXECUTION_STATE_TIMED_OUT, attempt_number=2)
    assert said("flaky", state) == "✗ flaky    attempt 2 of 2: timed_out"


def test_the_seeded_jobs_are_definitions_that_the_rules_accept() -> None:
    from kronforce.core.job_rules import validate_job  # noqa: PLC0415 - the rules are for this test
    from kronforce_client.jobs import as_job  # noqa: PLC0415 - the same

    for job in JOBS:
        assert list(validate_job(as_job(job))) == []
