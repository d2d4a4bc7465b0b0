"""The executions that this agent holds, and what they take up: slots, and unacknowledged results.

Every change of state goes through `move`, so that the counts are right by construction. The table
decides nothing; it can say that it is full.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.clock import timestamp
from kronforce_agent.held import ACCEPTED, FINISHED, FINISHING, RECEIVED, RUNNING, Held
from kronforce_agent.records import Key

MAX_UNACKNOWLEDGED = 10_000
"""Results that wait for their acknowledgement; beyond it no new work is taken."""
MAX_UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024
"""The same in bytes: a controller that never acknowledges must not fill this process."""

_INVENTORY = {
    ACCEPTED: pb.INVENTORY_STATE_ACCEPTED,
    RUNNING: pb.INVENTORY_STATE_RUNNING,
    FINISHING: pb.INVENTORY_STATE_RUNNING,
    FINISHED: pb.INVENTORY_STATE_FINISHED,
}
_IN_A_SLOT = frozenset((RECEIVED, RUNNING, FINISHING))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What this agent takes."""

    slots: int
    max_unacknowledged: int = MAX_UNACKNOWLEDGED
    max_unacknowledged_bytes: int = MAX_UNACKNOWLEDGED_BYTES


class Table:
    """By (execution id, fence); iterate it for all."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[Key, Held] = {}
        self._newest: dict[str, int] = {}
        self._in_slots = 0
        self._unacknowledged = 0
        self._unacknowledged_bytes = 0
        self.changed = asyncio.Event()
        """Set whenever an execution ended or left; waiters clear it."""

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        """Over a copy: whoever iterates may change it."""
        return iter(list(self._held.values()))

    def get(self, key: Key) -> Held | None:
        return self._held.get(key)

    def newest(self, execution_id: str) -> int:
        """The highest fence held of an execution; 0 if none is."""
        return self._newest.get(execution_id, 0)

    def add(self, held: Held) -> None:
        """Take it in its state; one of the same key is replaced."""
        older = self._held.get(held.key)
        if older is not None:
            self.remove(older)
        execution_id, fence = held.key
        self._held[held.key] = held
        self._newest[execution_id] = max(fence, self.newest(execution_id))
        self._count(held, 1)

    def move(self, held: Held, state: int) -> None:
        """Change its state."""
        self._count(held, -1)
        held.state = state
        self._count(held, 1)
        if state == FINISHED:
            self.changed.set()

    def remove(self, held: Held) -> None:
        if self._held.get(held.key) is not held:
            return
        del self._held[held.key]
        execution_id, fence = held.key
        if self._newest.get(execution_id) == fence:
            del self._newest[execution_id]
        self._count(held, -1)
        self.changed.set()

    def full(self) -> str:
        """Why there is no room for another; empty if there is."""
        limits = self._limits
        if self._in_slots >= limits.slots:
            return f"all {limits.slots} slots are taken"
        if (
            self._unacknowledged >= limits.max_unacknowledged
            or self._unacknowledged_bytes >= limits.max_unacknowledged_bytes
        ):
            return f"{self._unacknowledged} results wait for their acknowledgement"
        return ""

    def inventory(self) -> pb.Inventory:
        """Everything recorded whose result was not acknowledged."""
        return pb.Inventory(items=[_item(held) for held in self._recorded()])

    def heartbeat(self) -> pb.AgentHeartbeat:
        """Count and hash of the same."""
        beat = pb.AgentHeartbeat()
        for held in self._recorded():
            beat.held_count += 1
            beat.held_hash ^= key_hash(held.key)
        return beat

    def _recorded(self) -> Iterator[Held]:
        return (held for held in self._held.values() if held.state != RECEIVED)

    def _count(self, held: Held, by: int) -> None:
        if held.state in _IN_A_SLOT:
            self._in_slots += by
        elif held.state == FINISHED:
            self._unacknowledged += by
            self._unacknowledged_bytes += by * len(held.report)


def key_hash(key: Key) -> int:
    """First 8 bytes, big-endian, of SHA-256 of `<execution id>:<fence>`."""
    return int.from_bytes(hashlib.sha256(f"{key[0]}:{key[1]}".encode()).digest()[:8], "big")


def _item(held: Held) -> pb.InventoryItem:
    return pb.InventoryItem(
        execution_id=held.key[0],
        fence=held.key[1],
        state=_INVENTORY[held.state],
        started_at=timestamp(held.started_micros) if held.started_micros else None,
    )
