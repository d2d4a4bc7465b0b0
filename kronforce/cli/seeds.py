"""The example jobs of `kronforce up --seed`, and one line for each of their results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kronforce.cli.times import as_datetime, between
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.run_pb2 import RunStatus, RunUpdate
from kronforce_client import AsyncClient, NotFound

JOBS: tuple[dict[str, Any], ...] = (
    {
        "name": "hello",
        "description": "Says hello every 10 seconds; made by kronforce up --seed.",
        "task": {"type": "shell", "command": 'echo "hello from $KRONFORCE_AGENT_NAME"'},
        "schedule": {"type": "cron", "value": "*/10 * * * * *"},
    },
    {
        "name": "flaky",
        "description": "Fails at its first attempt, so that the second can succeed.",
        "task": {
            "type": "shell",
            "command": 'test "$KRONFORCE_ATTEMPT" -gt 1 || { echo "not today" >&2; exit 1; }',
        },
        "schedule": {"type": "cron", "value": "4,34 * * * * *"},
        "retry_max": 1,
        "retry_delay_secs": 5,
    },
)
SUMMARY = "hello (every 10 s), flaky (fails once, then retries)"

_ATTEMPTS = {str(job["name"]): int(job.get("retry_max", 0)) + 1 for job in JOBS}
_ENDED = {
    ExecutionState.EXECUTION_STATE_SUCCEEDED,
    ExecutionState.EXECUTION_STATE_FAILED,
    ExecutionState.EXECUTION_STATE_TIMED_OUT,
    ExecutionState.EXECUTION_STATE_CANCELLED,
    ExecutionState.EXECUTION_STATE_LOST,
}


async def seed(client: AsyncClient) -> None:
    """Make the example jobs that are not there; those that are stay as they are."""
    for job in JOBS:
        try:
            await client.jobs.get(job["name"])
        except NotFound:
            await client.jobs.create(job)


async def print_results(
    client: AsyncClient, job: str, show: Callable[[str], None], now: Callable[[], datetime]
) -> None:
    """A line for each attempt of the job that ends, until cancelled."""
    shown: dict[str, int] = {}
    async for update in client.runs.watch(job=job):
        if update.WhichOneof("update") == "state" and _is_news(update, shown):
            shown[update.run_id] = update.state.attempt_number
            show(line(job, update, now()))
            if update.state.HasField("finished_at"):
                del shown[update.run_id]


def _is_news(update: RunUpdate, shown: dict[str, int]) -> bool:
    state = update.state
    return state.execution_state in _ENDED and shown.get(update.run_id) != state.attempt_number


def line(job: str, update: RunUpdate, now: datetime) -> str:
    """`14:03:20 ✓ hello      12 ms   run 7f3a`."""
    state = update.state
    succeeded = state.execution_state == ExecutionState.EXECUTION_STATE_SUCCEEDED
    sign = "✓" if succeeded else "✗"
    what = _success(update) if succeeded else _failure(job, state, now)
    return f"{now.astimezone():%H:%M:%S} {sign} {job:<8} {what}"


def _success(update: RunUpdate) -> str:
    state = update.state
    if state.attempt_number > 1:
        return f"attempt {state.attempt_number}"
    took = between(state.started_at, state.finished_at)
    return f"{took:>7}   run {update.run_id[-4:]}"


def _failure(job: str, state: RunStatus, now: datetime) -> str:
    word = ExecutionState.Name(state.execution_state).removeprefix("EXECUTION_STATE_").lower()
    why = f"exit {state.exit_code}" if state.HasField("exit_code") else word
    attempts = max(_ATTEMPTS.get(job, 1), state.attempt_number)
    text = f"attempt {state.attempt_number} of {attempts}: {why}"
    if state.HasField("next_attempt_at"):
        delay = (as_datetime(state.next_attempt_at) - now).total_seconds()
        return f"{text}, again in {max(0, round(delay))} s"
    return text
