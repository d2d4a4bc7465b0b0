"""A run in facts, as `run get` shows it."""

from datetime import UTC, datetime

from kronforce.cli.run_facts import run_facts
from kronforce.v1.run_pb2 import Run

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def attempt(**fields):
    run = Run(id="r")
    run.executions.add(attempt_number=1, state=4, agent_name="a", **fields)
    return dict(run_facts(run, now=NOW, utc=True))["attempt 1"]


def test_output_that_was_not_kept_is_told_beside_what_was_written():
    assert attempt(stdout_bytes=1_500) == "succeeded on a, wrote 1,500 bytes"
    assert attempt(stdout_bytes=1_500, stderr_bytes=500, missing_bytes=1_000) == (
        "succeeded on a, wrote 2,000 bytes (1,000 of them not kept: output_cap_bytes)"
    )
