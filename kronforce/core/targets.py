"""Where a run may go: targets, what an agent must have, and which agent is chosen.

A target is resolved once per run and frozen; whether an agent serves it is
decided here and nowhere else, so that admission, dispatch and explanations
agree. A ready row carries its route, a stable hash of what it needs: equal
routes can be served by the same agents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from kronforce.core.custom_tasks import ANY_CUSTOM, is_custom
from kronforce.core.selector import Selector

ROUTE_BYTES = 8

# Routes in use at once: targets × task types × groups of one installation, with room.
_ROUTE_CACHE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """The controller host's built-in agent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OneAgent:
    """One named agent."""

    agent_id: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagged:
    """One agent among those that have the tag."""

    tag: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AnyAgent:
    """One agent, whichever is chosen first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AllAgents:
    """Every enrolled agent: one run target each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """Every agent whose labels match: one run target each."""

    selector: Selector


Target = Local | OneAgent | Tagged | AnyAgent | AllAgents | Selected


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentView:
    """What choosing needs to know of an agent.

    `allowed_groups` empty means every group; `last_used` only orders (any
    number that grows with each assignment).
    """

    agent_id: bytes
    name: str = ""
    local: bool = False
    tags: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    task_types: frozenset[str] = frozenset()
    # It asks for work, and does custom tasks alone.
    pulls: bool = False
    allowed_groups: frozenset[str] = frozenset()
    connected: bool = True
    draining: bool = False
    free_slots: int = 0
    last_used: int = 0


def is_fan_out(target: Target) -> bool:
    """Whether the target makes one run target per agent."""
    return isinstance(target, (AllAgents, Selected))


def is_member(target: Target, agent: AgentView) -> bool:
    """Whether the target names this agent, whatever it is able to do."""
    match target:
        case Local():
            return agent.local
        case OneAgent(agent_id=agent_id):
            return agent.agent_id == agent_id
        case Tagged(tag=tag):
            return tag in agent.tags
        case Selected(selector=selector):
            return selector.matches(agent.labels)
        case AnyAgent() | AllAgents():
            return True


def is_candidate(target: Target, group: str, agent: AgentView) -> bool:
    """Whether the target names this agent and its groups take such jobs, whatever it can run."""
    if agent.allowed_groups and group not in agent.allowed_groups:
        return False
    return is_member(target, agent)


def can_serve(target: Target, task_type: str, group: str, agent: AgentView) -> bool:
    """Whether the agent may ever run such work, regardless of slots and connection."""
    return runs_type(target, task_type, agent) and is_candidate(target, group, agent)


def runs_type(target: Target, task_type: str, agent: AgentView) -> bool:
    """Whether the agent runs tasks of this type.

    A custom agent on which nothing is defined takes the custom tasks that are sent to it by name.
    """
    if task_type in agent.task_types:
        return True
    if not is_custom(task_type):
        return False
    undefined = agent.pulls and not agent.task_types and isinstance(target, OneAgent)
    return undefined or ANY_CUSTOM in agent.task_types


def choose(
    agents: Iterable[AgentView],
    *,
    sticky_to: bytes | None = None,
    running_here: Mapping[bytes, int] | None = None,
) -> AgentView | None:
    """Choose among agents that can serve the work; None if none has a free slot now.

    Most free slots first, then least recently used. `sticky_to` is preferred
    while it has a slot. `running_here` (agent to open attempts of this job)
    asks for spread: fewest of them first, and only then free slots.
    """
    free = [a for a in agents if a.connected and not a.draining and a.free_slots > 0]
    if not free:
        return None
    for agent in free:
        if agent.agent_id == sticky_to:
            return agent
    crowd = running_here or {}
    return min(
        free,
        key=lambda a: (crowd.get(a.agent_id, 0), -a.free_slots, a.last_used, a.agent_id),
    )


def describe(target: Target) -> str:
    """Canonical text of a target; equal exactly for targets that mean the same."""
    match target:
        case Local():
            return "local"
        case OneAgent(agent_id=agent_id):
            return f"agent:{agent_id.hex()}"
        case Tagged(tag=tag):
            return f"tag:{tag}"
        case AnyAgent():
            return "any"
        case AllAgents():
            return "all"
        case Selected(selector=selector):
            return f"labels:{selector.text}"


@lru_cache(maxsize=_ROUTE_CACHE)
def route_key(target: Target, task_type: str, group: str) -> bytes:
    """8 bytes that are the same in every process and version for the same needs.

    Rows of a fan-out are bound to an agent: give them `OneAgent`.
    """
    text = "\x00".join((describe(target), task_type, group))
    return hashlib.blake2b(text.encode(), digest_size=ROUTE_BYTES).digest()
