"""A run explains itself: one sentence, then facts, the last lines it wrote, the next step.

Pure: takes messages and an instant, gives text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kronforce.cli.times import absolute, as_datetime, between, coarse, duration, relative
from kronforce.v1.execution_pb2 import Execution
from kronforce.v1.run_pb2 import Run, RunTarget, Trigger
from kronforce_client import dialect
from kronforce_client.handle import state_word

# What a person calls an exit code that a signal or a shell made.
_EXIT_CODES = {
    126: "found, but it cannot be executed",
    127: "command not found",
    130: "interrupted",
    134: "aborted",
    137: "killed (out of memory?)",
    139: "crashed (segmentation fault)",
    143: "terminated",
}
_REASONS = {
    "queue": "others go first",
    "slot": "all slots are busy",
    "labels": "no enrolled agent fits",
    "offline": "the agents that fit are offline",
    "assigned": "sent to its agent, not yet accepted",
    "concurrency": "the job's limit of open runs is reached",
    "retry_wait": "waiting for the next attempt",
    "agent_unreachable": "its agent cannot be reached just now",
    "cancelling": "being cancelled",
    "storing_output": "ended, its output is being stored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What `run get` shows."""

    sentence: str
    facts: Sequence[tuple[str, str]]
    next_step: str


def explain(run: Run, *, now: datetime, utc: bool, attempts_allowed: int = 0) -> Explanation:
    """Explain a run as GetRun gives it. `attempts_allowed` 0: not known."""
    return Explanation(
        sentence=sentence(run, now=now, attempts_allowed=attempts_allowed),
        facts=_facts(run, now=now, utc=utc),
        next_step=_next_step(run),
    )


def sentence(run: Run, *, now: datetime, attempts_allowed: int = 0) -> str:
    """`Failed on attempt 2 of 3 after 4 m 12 s on web-3: exit 137, killed (out of memory?).`"""
    word = state_word(run.state)
    last = run.executions[-1] if run.executions else None
    if word == "pending":
        return f"Waiting {_since(run, now)}{_why(run, last)}."
    if word == "pending_approval":
        return f"Waiting {_since(run, now)} for somebody's approval."
    if last is not None and last.attempt_number > 1 and state_word(last.state) == "pending":
        return _between_attempts(run, last, now, attempts_allowed)
    how = _attempt(last, attempts_allowed)
    where = _where(run, last)
    if word == "running":
        began = run.started_at if run.HasField("started_at") else run.created_at
        spent = duration((now - as_datetime(began)).total_seconds())
        return f"Running{how} for {spent}{where}{_why(run, last)}."
    return f"{word.replace('_', ' ').capitalize()}{how}{_took(run)}{where}{_why(run, last)}."


def _between_attempts(run: Run, last: Execution, now: datetime, allowed: int) -> str:
    """`Waiting for attempt 2 of 3, in 4 s; attempt 1 failed: exit 1.`"""
    of = f" of {allowed}" if allowed > 1 else ""
    due = f", {relative(last.due_at, now)}" if last.HasField("due_at") else ""
    before = run.executions[-2] if len(run.executions) > 1 else None
    if before is None:
        return f"Waiting for attempt {last.attempt_number}{of}{due}."
    said = f": {before.message}" if before.message else ""
    number, word = before.attempt_number, state_word(before.state).replace("_", " ")
    return f"Waiting for attempt {last.attempt_number}{of}{due}; attempt {number} {word}{said}."


def _since(run: Run, now: datetime) -> str:
    return coarse((now - as_datetime(run.created_at)).total_seconds())


def _attempt(last: Execution | None, allowed: int) -> str:
    number = last.attempt_number if last else 1
    if number <= 1 and allowed <= 1:
        return ""
    return f" on attempt {number} of {allowed}" if allowed > 1 else f" on attempt {number}"


def _took(run: Run) -> str:
    if not (run.HasField("started_at") and run.HasField("finished_at")):
        return ""
    return f" after {between(run.started_at, run.finished_at)}"


def _where(run: Run, last: Execution | None) -> str:
    if run.target_count > 1:
        return f" on {run.target_count} targets"
    return f" on {last.agent_name}" if last and last.agent_name else ""


def _why(run: Run, last: Execution | None) -> str:
    if state_word(run.state) == "succeeded":
        return ""
    said = run.message or (last.message if last else "") or _reason(run, last)
    meaning = _meaning(last, said)
    said = said.removeprefix("waits: ")
    said = "" if said == state_word(run.state) else said
    text = ", ".join(each for each in (said, meaning) if each).rstrip(".")
    return f": {text}" if text else ""


def _reason(run: Run, last: Execution | None) -> str:
    if last is not None and last.HasField("exit_code") and last.exit_code:
        return f"exit {last.exit_code}"
    reason = run.state_reason or (last.state_reason if last else "")
    return _REASONS.get(reason, reason.replace("_", " "))


def _meaning(last: Execution | None, said: str) -> str:
    if last is None or not last.HasField("exit_code"):
        return ""
    known = _EXIT_CODES.get(last.exit_code, "")
    return "" if known.partition(" ")[0] in said else known


def _facts(run: Run, *, now: datetime, utc: bool) -> list[tuple[str, str]]:
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
    return f"{state_word(execution.state)}{where}{code}{signal}{size}{said}"


def _next_step(run: Run) -> str:
    word, end = state_word(run.state), run.id[-8:]
    if word in ("pending", "pending_approval"):
        reason = run.state_reason or (run.executions[-1].state_reason if run.executions else "")
        if reason in ("labels", "offline", "slot"):
            return f"kronforce agent list    or end it: kronforce run cancel {end}"
        return f"kronforce run watch {end}    or end it: kronforce run cancel {end}"
    if word == "running":
        return f"kronforce run logs {end} -f    or end it: kronforce run cancel {end}"
    if word == "succeeded":
        return f"kronforce run logs {end}"
    return f"kronforce run logs {end}    again: kronforce job run {run.job_name} --follow"
