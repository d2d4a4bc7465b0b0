"""What each agent would do with an execution that waits, and why not: the dispatcher's own rule,
taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from kronforce.core.access import Scope, may_see
from kronforce.core.explain_facts import FITTING, Agent, Verdict
from kronforce.core.targets import Tagged, is_member, runs_type
from kronforce.engine.agents.directory import Directory, view_of
from kronforce.engine.agents.session import Session
from kronforce.engine.dispatcher import Dispatcher, Need
from kronforce.store.agents import AgentRow

SECOND = 1_000_000
# Those that one explanation names: what fits first.
SHOWN = 20


def verdicts(
    scope: Scope, need: Need, directory: Directory, dispatcher: Dispatcher, monotonic: float
) -> tuple[list[Agent], int]:
    """Agents that the target names or nearly names, what fits first, and how many are hidden.

    `monotonic` is now.
    """
    found: list[Agent] = []
    hidden = 0
    for row in _candidates(need, directory.named_by(need.target)):
        session = dispatcher.sessions.get(row.key)
        if not may_see(scope, row.allowed_groups):
            hidden += 1
            continue
        found.append(
            Agent(
                name=row.name,
                verdict=_verdict(need, row, session),
                busy=0 if session is None else session.slots - session.free,
                slots=row.slots if session is None else session.slots,
                by_itself=not row.draining and session is not None and not session.draining,
                silent_us=0 if session is None else int((monotonic - session.last_heard) * SECOND),
            )
        )
    found.sort(key=attrgetter("name"))
    found.sort(key=lambda agent: agent.verdict not in FITTING)
    return found[:SHOWN], hidden


def _candidates(need: Need, rows: Iterable[AgentRow]) -> Iterable[AgentRow]:
    # A tag may be missing by mistake; the built-in agent or a named one is nobody else.
    everybody = isinstance(need.target, Tagged)
    return (row for row in rows if everybody or is_member(need.target, view_of(row)))


def _verdict(need: Need, row: AgentRow, session: Session | None) -> str:
    view = view_of(row) if session is None else session.view
    if not is_member(need.target, view):
        return Verdict.TAG
    if row.allowed_groups and need.group not in row.allowed_groups:
        return Verdict.NOT_ALLOWED
    if need.needs_trust and row.built_in:
        return Verdict.UNTRUSTED
    known = view.task_types or view.pulls
    if known and not runs_type(need.target, need.task_type, view):
        return Verdict.TASK_TYPE
    if session is None:
        return Verdict.OFFLINE
    if session.draining or session.agent_draining:
        return Verdict.DRAINING
    if not session.asks:
        return Verdict.NOT_ASKING
    return Verdict.NEXT if session.free > 0 and session.takes_work else Verdict.BUSY
