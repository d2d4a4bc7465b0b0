"""Why an execution ended as it did: what happened, for each reason of a terminal state."""

from __future__ import annotations

from collections.abc import Callable

from kronforce.core.exit_hints import exit_sentence, signal_name
from kronforce.core.explain_facts import Facts
from kronforce.core.explain_words import after, coarse, count, on_agent, on_attempt
from kronforce.core.lifecycle import Reason, State
from kronforce.core.waited import waited_for

Say = Callable[[Facts], str]


def ended(f: Facts) -> str:
    """`Failed on attempt 2 of 3 after 4 m 12 s on web-3: exit 137: killed by SIGKILL (…).`"""
    why = _why(f).rstrip(".")
    head = f.state.word.replace("_", " ").capitalize() + on_attempt(f) + _when(f)
    return f"{head}: {why}." if why else f"{head}."


def _when(f: Facts) -> str:
    """` after 4 m 12 s on web-3`, of what never started how long it waited."""
    if f.started_at is not None:
        return after(f) + on_agent(f)
    if f.state is State.SKIPPED:
        return ""
    if f.agent:
        return f"{on_agent(f)} before it started"
    return f" after waiting {coarse((f.finished_at or f.now) - f.created_at)}"


def _why(f: Facts) -> str:
    if f.state is State.SUCCEEDED:
        return ""
    say = OF_ENDED.get(f.reason)
    if say is not None:
        return say(f)
    return f.message or f.reason.replace("_", " ")


def _exit(f: Facts) -> str:
    return f.message if f.exit_code is None else _said(f, exit_sentence(f.exit_code))


def _signal(f: Facts) -> str:
    return _said(f, f"killed by {signal_name(f.signal)}") if f.signal else f.message


def _said(f: Facts, hint: str) -> str:
    """What the agent said wins where it says more."""
    plain = hint.split(":", maxsplit=1)[0].split(" (", maxsplit=1)[0]
    if not f.message or f.message == plain:
        return hint
    return (
        f.message if hint in f.message else f"{hint}; {f.message.removeprefix(plain).strip('; ')}"
    )


def _start_failed(f: Facts) -> str:
    return f"it could not be started: {f.message}" if f.message else "it could not be started"


def _unsupported(f: Facts) -> str:
    return f.message or f"the agent does not know task type {f.settings.task_type}"


def _unresolved(f: Facts) -> str:
    return f.message or "it names a variable that has no value (strict_variables)"


def _timeout(f: Facts) -> str:
    return f"it ran longer than timeout_secs ({f.settings.timeout_secs:,} s)"


def _run_timeout(f: Facts) -> str:
    return f"the run took longer than run_timeout_secs ({f.settings.run_timeout_secs:,} s)"


def _cancelled(f: Facts) -> str:
    text = f"by {f.by}" if f.by else ""
    said = f.message.removeprefix(f"cancelled by {f.by}").strip(": ")
    said = "" if said in ("cancelled", "") else said
    return ": ".join(part for part in (text, said) if part)


def _replaced(f: Facts) -> str:
    newer = f"run {f.replaced_by}" if f.replaced_by else "a newer run"
    return f"{newer} of {f.job_name} took its place (concurrency_policy replace)"


def _agent_stopped(f: Facts) -> str:
    said = f.message.removeprefix("its agent was stopped")
    return f"its agent was stopped and ended what it ran (kronforce up, --stop-tasks){said}"


def _overlap(f: Facts) -> str:
    return f"an earlier run of {f.job_name} was still open (concurrency_policy forbid)"


def _queue_full(f: Facts) -> str:
    waiting = count(f.settings.queue_limit, "run")
    return f"as many runs of {f.job_name} as may wait were waiting ({waiting}: queue_limit)"


def _no_agent(f: Facts) -> str:
    return "the agent that its target names is not enrolled"


def _queue_timeout(f: Facts) -> str:
    what = waited_for(f.message)
    limit = f"longer than queue_timeout_secs ({f.settings.queue_timeout_secs:,} s)"
    return f"{limit} {what}" if what else limit


def _offline_timeout(f: Facts) -> str:
    limit = f.settings.offline_timeout_secs
    return f"no agent that fits came within offline_timeout_secs ({limit:,} s)"


def _agent_lost(f: Facts) -> str:
    limit = f.settings.lost_after_secs
    return f"its agent stayed away longer than lost_after_secs ({limit:,} s); it may have run"


def _agent_restarted(f: Facts) -> str:
    return "its agent came back without it; it may have run"


def _launcher_died(f: Facts) -> str:
    return "the launcher that held it died, and what was left of it was killed; it may have run"


def _quarantined(f: Facts) -> str:
    return "three attempts were lost, so it is not tried again; each may have run"


OF_ENDED: dict[str, Say] = {
    Reason.EXIT_CODE: _exit,
    Reason.SIGNAL: _signal,
    Reason.START_FAILED: _start_failed,
    Reason.UNSUPPORTED: _unsupported,
    Reason.UNRESOLVED_VARIABLE: _unresolved,
    Reason.TIMEOUT: _timeout,
    Reason.RUN_TIMEOUT: _run_timeout,
    Reason.CANCELLED: _cancelled,
    Reason.REPLACED: _replaced,
    Reason.AGENT_STOPPED: _agent_stopped,
    Reason.OVERLAP: _overlap,
    Reason.QUEUE_FULL: _queue_full,
    Reason.NO_AGENT: _no_agent,
    Reason.QUEUE_TIMEOUT: _queue_timeout,
    Reason.OFFLINE_TIMEOUT: _offline_timeout,
    Reason.AGENT_LOST: _agent_lost,
    Reason.AGENT_RESTARTED: _agent_restarted,
    Reason.LAUNCHER_DIED: _launcher_died,
    Reason.QUARANTINED: _quarantined,
}
