"""One execution on this agent, from its assignment until its result is acknowledged.

RECEIVED ──ACCEPT durable──▶ RUNNING ──ended──▶ FINISHING ──RESULT durable──▶ FINISHED ──▶ gone
                ▲
ACCEPTED ───────┘  (after an agent restart: recorded, certainly never started; comes again)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.clock import timestamp
from kronforce_agent.inagent import InAgentRun
from kronforce_agent.output import OutputBuffer
from kronforce_agent.records import Key

RECEIVED, ACCEPTED, RUNNING, FINISHING, FINISHED = range(5)

_INVENTORY = {
    ACCEPTED: pb.INVENTORY_STATE_ACCEPTED,
    RUNNING: pb.INVENTORY_STATE_RUNNING,
    FINISHING: pb.INVENTORY_STATE_RUNNING,
    FINISHED: pb.INVENTORY_STATE_FINISHED,
}


@dataclass(kw_only=True, slots=True, eq=False)
class Held:
    """Mutable on purpose: the supervisor is its only writer."""

    key: Key
    arm: str
    state: int = RECEIVED
    assignment: pb.Assignment | None = None
    """Until it is started; never journalled."""
    started_micros: int = 0
    timeout_secs: float = 0
    report: bytes = b""
    """The AgentMessage with its result."""
    inline: bool = False
    """Whether the result carries the whole output."""
    output: OutputBuffer | None = None
    run: InAgentRun | None = None
    """Set while it runs inside the agent; otherwise the launcher has it."""
    is_process: bool = False
    cancelled: bool = False
    """A cancel or revocation came before its start."""
    dropped: bool = False
    """The stream ended before its ACCEPT was durable: it must not start any more."""

    @property
    def ended(self) -> bool:
        """Whether its result is durable."""
        return self.state == FINISHED


def inventory(held: Iterable[Held]) -> pb.Inventory:
    """Everything recorded whose result was not acknowledged."""
    return pb.Inventory(items=[_item(each) for each in held if each.state != RECEIVED])


def heartbeat(held: Iterable[Held]) -> pb.AgentHeartbeat:
    """Count and hash of the same."""
    count = 0
    total = 0
    for each in held:
        if each.state != RECEIVED:
            count += 1
            total ^= key_hash(each.key)
    return pb.AgentHeartbeat(held_count=count, held_hash=total)


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
