"""A run in facts: what it was given, where it went, how long it took. Why is the server's to say.

Pure: takes messages and an instant, gives text.
"""

from __future__ import annotations

from datetime import datetime

from kronforce.cli.times import absolute, between, relative
from kronforce.v1.execution_pb2 import Execution
from kronforce.v1.run_pb2 import Run, RunTarget, Trigger
from kronforce_client import dialect
from kronforce_client.handle import state_word


def run_facts(run: Run, *, now: datetime, utc: bool) -> list[tuple[str, str]]:
    """Named values of a run as GetRun gives it; empty ones too."""

    def when(name: str) -> str:
        if not run.HasField(name):  # type: ignore[arg-type]  # one of its instants
            return ""
        instant = getattr(run, name)
        return f"{absolute(instant, utc=utc)}  ({relative(instant, now)})"

    return [
        ("run", run.id),
        ("job", f"{run.job_name}, version {run.job_version}"),
        ("trigger", _trigger(run)),
        ("triggered", when("created_at")),
        ("nominal", when("nominal_at")),
        ("started", when("started_at")),
        ("finished", when("finished_at")),
        ("deadline", when("deadline_at")),
        ("runs again", run.rerun_of),
        ("times", _times(run)),
        ("params", _params(run)),
        *_targets(run),
        *((f"attempt {each.attempt_number}", _execution(each)) for each in run.executions),
        ("cancelled by", run.cancelled_by),
    ]


def _trigger(run: Run) -> str:
    word = Trigger.Name(run.trigger).removeprefix("TRIGGER_").lower()
    by = run.triggered_by
    return f"{word} by {by}" if by and by != word else word


def _times(run: Run) -> str:
    """Queue, dispatch and run, apart, of the last execution."""
    if not run.executions:
        return ""
    last = run.executions[-1]
    parts = []
    if last.HasField("assigned_at"):
        parts.append(f"waited {between(last.created_at, last.assigned_at)}")
        if last.HasField("started_at"):
            parts.append(f"dispatched in {between(last.assigned_at, last.started_at)}")
    if last.HasField("started_at") and last.HasField("finished_at"):
        parts.append(f"ran {between(last.started_at, last.finished_at)}")
    return ", ".join(parts)


def _params(run: Run) -> str:
    return dialect.dumps(dialect.render(run.params)) if run.HasField("params") else ""


def _targets(run: Run) -> list[tuple[str, str]]:
    if run.target_count <= 1:
        return []
    return [(f"target {each.index}", _target(each)) for each in run.targets]


def _target(target: RunTarget) -> str:
    skipped = f", left out: {target.skip_reason}" if target.skip_reason else ""
    return f"{target.agent_name or 'any agent'}: {state_word(target.state)}{skipped}"


def _execution(execution: Execution) -> str:
    where = f" on {execution.agent_name}" if execution.agent_name else ""
    code = f", exit {execution.exit_code}" if execution.HasField("exit_code") else ""
    signal = f", signal {execution.signal}" if execution.signal else ""
    said = f": {execution.message}" if execution.message else ""
    wrote = execution.stdout_bytes + execution.stderr_bytes
    size = f", wrote {wrote:,} bytes" if wrote else ""
    if execution.missing_bytes:
        size += f" ({execution.missing_bytes:,} of them not kept: output_cap_bytes)"
    return f"{state_word(execution.state)}{where}{code}{signal}{size}{said}"
