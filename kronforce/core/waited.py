"""What an execution waited for until its patience was over: said with its end, and read from it.

The end of a wait has one reason, `queue_timeout`; what would have helped depends on what it
waited for, which nobody can tell afterwards. So its message says it, in words of this page only.
"""

from __future__ import annotations

from kronforce.core.lifecycle import Reason

_OVER = "waited longer than queue_timeout_secs"
_FOR: dict[str, str] = {
    Reason.CONCURRENCY: "for earlier runs of its job (max_concurrent)",
    Reason.SLOT: "for a free slot on the agents that fit",
    Reason.OFFLINE: "for agents that fit, which were away, draining or not enrolled",
}


_UNCLAIMED = "for a custom agent to ask for it"


def over_waiting(reason: str, *, custom: bool = False) -> str:
    """The message of what waited too long; `reason` is why it waited, `custom`: for whom."""
    if custom and reason not in (Reason.CONCURRENCY, Reason.OFFLINE):
        return f"{_OVER} {_UNCLAIMED}"
    return f"{_OVER} {_FOR.get(reason, _FOR[Reason.SLOT])}"


def waited_for(message: str) -> str:
    """`for earlier runs of its job (max_concurrent)`; empty if the message says nothing of it."""
    said = message.removeprefix(f"{_OVER} ")
    return said if said in (*_FOR.values(), _UNCLAIMED) else ""


def why_it_waited(message: str) -> str:
    """The reason behind it; empty if the message says nothing of it."""
    said = waited_for(message)
    return next((reason for reason, text in _FOR.items() if text == said), "")
