"""The small words of explanations: spans of time, targets, agents, attempts."""

from __future__ import annotations

from kronforce.core.explain_facts import Facts
from kronforce.core.targets import AllAgents, AnyAgent, Local, OneAgent, Selected, Tagged, Target

SECOND = 1_000_000
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))

# Agents that a sentence names; the list that comes with it has more.
NAMED = 3


def span(us: int) -> str:
    """`12 ms`, `4 s`, `4 m 12 s`, `3 h 5 m`."""
    if us < SECOND:
        return f"{max(0, us) // 1000} ms"
    secs = us // SECOND
    if secs < 60:
        return f"{secs} s"
    if secs < 3_600:
        return f"{secs // 60} m {secs % 60} s" if secs % 60 else f"{secs // 60} m"
    if secs < 86_400:
        minutes = secs % 3_600 // 60
        return f"{secs // 3_600} h {minutes} m" if minutes else f"{secs // 3_600} h"
    return f"{secs // 86_400} d {secs % 86_400 // 3_600} h"


def coarse(us: int) -> str:
    """The largest unit alone: `3 m`."""
    secs = max(0, us) // SECOND
    for size, unit in _UNITS:
        if secs >= size:
            return f"{secs // size} {unit}"
    return f"{secs} s"


def who(target: Target | None, name: str = "") -> str:
    """What a target names, as part of a sentence; `name` is the one agent's."""
    match target:
        case Local():
            return "the built-in agent"
        case OneAgent():
            return f"agent {name}" if name else "its agent"
        case Tagged(tag=tag):
            return f"agents with tag {tag}"
        case Selected(selector=selector):
            return f"agents with {selector.text}"
        case AnyAgent() | AllAgents() | None:
            return "any agent"


def is_one(target: Target | None) -> bool:
    """Whether the target names a single agent."""
    return isinstance(target, (Local, OneAgent))


def names(found: tuple[str, ...]) -> str:
    """`a, b, c and 4 more`"""
    shown = ", ".join(found[:NAMED])
    return f"{shown} and {len(found) - NAMED} more" if len(found) > NAMED else shown


def count(number: int, noun: str) -> str:
    """`1 agent`, `2 agents`"""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def on_attempt(facts: Facts) -> str:
    """` on attempt 2 of 3`; nothing where there is only one."""
    if facts.attempt <= 1 and facts.allowed <= 1:
        return ""
    of = f" of {facts.allowed}" if facts.allowed >= facts.attempt and facts.allowed > 1 else ""
    return f" on attempt {facts.attempt}{of}"


def on_agent(facts: Facts) -> str:
    """` on web-3`"""
    return f" on {facts.agent}" if facts.agent else ""


def after(facts: Facts) -> str:
    """` after 4 m 12 s`, of what started and ended."""
    if facts.started_at is None or facts.finished_at is None:
        return ""
    return f" after {span(facts.finished_at - facts.started_at)}"
