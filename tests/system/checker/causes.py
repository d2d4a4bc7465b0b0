"""What needs a cause: a loss, an absence, an end that nobody asked for; and what may not be left.

A history that does not say what was done to processes is not judged by these rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.system.checker.history import Attempt, History, Policy, Run

CONTROLLER, AGENT, LAUNCHER = "controller", "agent", "launcher"
# A kill is noted before it happens, an attempt's instants are the controller's: one machine, so
# the clocks are one, and this is for the way of a message.
SLACK_US = 2_000_000


def was_killed(history: History, role: str, attempt: Attempt, told_at: int | None = None) -> bool:
    """Whether such a process was ended while this attempt was open, or may have been.

    `told_at`: when its end was heard of, where that was later: an agent that was cut off tells
    late, and what its launcher still held may be gone by then.
    """
    if history.killed is None:
        return role == LAUNCHER and history.launcher_killed
    until = max(filter(None, (attempt.finished_at, told_at)), default=None)
    return any(
        each.role == role
        and each.until >= attempt.created_at - SLACK_US
        and (until is None or each.since <= until + SLACK_US)
        for each in history.killed
    )


def causeless(history: History) -> Iterator[str]:
    """(k) `lost`, `agent_stopped` and an agent that is offline are there only where one was killed.

    A process survives its agent and its controller: only its launcher's death loses it. What runs
    inside an agent is lost with that.
    """
    if history.killed is None:
        return
    for run in history.runs:
        policy = history.policies.get(run.job, Policy())
        for attempt in run.attempts:
            yield from _needs_cause(history, run, policy, attempt)
    gone = sum(event.kind == "agent.offline" for event in history.events)
    if gone and not history.killed:
        yield f"an agent was offline {gone} times, and nothing was done to anybody"


def _needs_cause(history: History, run: Run, policy: Policy, attempt: Attempt) -> Iterator[str]:
    stopped = attempt.reason == "agent_stopped"
    if attempt.state != "lost" and not stopped:
        return
    if attempt.reason == "agent_restarted" and not policy.in_agent:
        yield f"execution {attempt.id} of {run.job}: its agent came back without what it accepted"
        return
    holder = AGENT if policy.in_agent else LAUNCHER
    if not was_killed(history, holder, attempt):
        yield (
            f"execution {attempt.id} of {run.job} is {attempt.state} ({attempt.reason}), "
            f"and no {holder} was killed"
        )


def left_behind(history: History) -> Iterator[str]:
    """(n) Where all work has ended no process of it is left."""
    yield from (f"left behind: {process}" for process in history.left)
