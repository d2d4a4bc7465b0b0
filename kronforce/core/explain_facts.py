"""What an explanation is made of: everything known of one execution when somebody asks why."""

from __future__ import annotations

from dataclasses import dataclass

from kronforce.core.job_settings import JobSettings
from kronforce.core.lifecycle import State
from kronforce.core.targets import Target


class Verdict:
    """Why an agent does not take an execution; the words of `AgentVerdict.verdict`."""

    NEXT = "next"
    BUSY = "busy"
    NOT_ASKING = "not_asking"
    DRAINING = "draining"
    OFFLINE = "offline"
    TAG = "tag"
    TASK_TYPE = "task_type"
    UNTRUSTED = "untrusted"
    NOT_ALLOWED = "not_allowed"


# Those of agents that can take it, now or later.
FITTING = frozenset(
    {Verdict.NEXT, Verdict.BUSY, Verdict.NOT_ASKING, Verdict.DRAINING, Verdict.OFFLINE}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """An agent's verdict about what waits."""

    name: str
    verdict: str
    busy: int = 0
    slots: int = 0
    # Of one that drains: nobody asked for it, it stops or is short of room for output.
    by_itself: bool = False
    # For how long nothing was heard of it; of agents that are here.
    silent_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One execution. Instants are microseconds UTC."""

    now: int
    run_id: str
    job_name: str
    settings: JobSettings
    target: Target | None
    target_name: str = ""
    state: State
    reason: str
    # What the agent or the engine said of it.
    message: str = ""
    attempt: int = 1
    # Attempts that the job allows.
    allowed: int = 1
    agent: str = ""
    created_at: int = 0
    since: int = 0
    until: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    exit_code: int | None = None
    signal: int = 0
    # Executions that are given out before it.
    ahead: int = 0
    agents: tuple[Agent, ...] = ()
    # Agents that the caller may not see.
    hidden_agents: int = 0
    # What the job's limit is split by, for this run; empty: nothing.
    slot_key: str = ""
    # Runs that hold the job's limit.
    held_by: tuple[str, ...] = ()
    # The attempt before: its state's word and what was said of it.
    before: str = ""
    # Who asked for its end, and what was said with it.
    by: str = ""
    why: str = ""
    # The reason word of that.
    asked: str = ""
    # Its run has taken longer than it may.
    overdue: bool = False
    # The run that took its place.
    replaced_by: str = ""
    # How long its agent has been away.
    away_since: int | None = None
