"""An agent's inventory against what the store says it holds: one step for each execution.

Pure. What was accepted is never offered elsewhere; what the agent came back
without was certainly not started if it had not been accepted, and is lost
otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto

from kronforce.engine.live import LiveExecution
from kronforce.store.tables import Phase
from kronforce.v1 import agent_service_pb2 as pb


class Step(Enum):
    """What to do about one execution."""

    # It runs there: adopt it.
    RUNNING = auto()
    # It ended there: its result follows.
    FINISHED = auto()
    # Accepted, certainly never started: the same agent gets it again under the same fence.
    SEND_AGAIN = auto()
    # Sent but never accepted, and the agent does not have it: back to the queue.
    REQUEUE = auto()
    # Accepted, and the agent does not have it.
    LOST = auto()
    # The agent has it and should not.
    REVOKE = auto()
    # The agent holds a result that nobody waits for; it is acknowledged when it comes.
    IGNORE = auto()


_STEPS = {
    pb.INVENTORY_STATE_ACCEPTED: Step.SEND_AGAIN,
    pb.INVENTORY_STATE_RUNNING: Step.RUNNING,
    pb.INVENTORY_STATE_FINISHED: Step.FINISHED,
}

Decision = tuple[Step, LiveExecution | None, pb.InventoryItem | None]


def reconcile(
    lives: Sequence[LiveExecution], items: Iterable[pb.InventoryItem]
) -> Iterator[Decision]:
    """A step for each execution that either side knows of, the store's first."""
    inventory = {item.execution_id: item for item in items}
    for live in lives:
        item = inventory.get(live.id_text)
        if item is not None and item.fence == live.fence:
            del inventory[live.id_text]
            yield _STEPS.get(item.state, Step.RUNNING), live, item
        elif live.finishing:
            # Its result is here already and is being stored.
            yield Step.FINISHED, live, None
        else:
            yield (Step.REQUEUE if live.phase == Phase.ASSIGNED else Step.LOST), live, None
    for item in inventory.values():
        finished = item.state == pb.INVENTORY_STATE_FINISHED
        yield (Step.IGNORE if finished else Step.REVOKE), None, item


def held_hash(lives: Iterable[LiveExecution]) -> tuple[int, int]:
    """Count and hash of what an agent holds, as `AgentHeartbeat` defines them."""
    count = total = 0
    for live in lives:
        count += 1
        digest = hashlib.sha256(f"{live.id_text}:{live.fence}".encode()).digest()
        total ^= int.from_bytes(digest[:8], "big")
    return count, total
