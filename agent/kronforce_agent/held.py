"""One execution on this agent, from its assignment until its result is acknowledged.

RECEIVED ──ACCEPT durable──▶ RUNNING ──ended──▶ FINISHING ──RESULT durable──▶ FINISHED ──▶ gone
                ▲
ACCEPTED ───────┘  (after an agent restart: recorded, certainly never started; comes again)
"""

from __future__ import annotations

from dataclasses import dataclass

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.inagent import InAgentRun
from kronforce_agent.output import OutputBuffer
from kronforce_agent.records import Key
from kronforce_agent.secrets import Secrets

RECEIVED, ACCEPTED, RUNNING, FINISHING, FINISHED = range(5)


@dataclass(kw_only=True, slots=True, eq=False)
class Held:
    """Mutable on purpose: the supervisor is the only writer, through its parts."""

    key: Key
    arm: str
    state: int = RECEIVED
    assignment: pb.Assignment | None = None
    """Until it is started; never journalled."""
    started_micros: int = 0
    timeout_secs: float = 0
    secrets: Secrets | None = None
    """What must be masked of it; in memory only."""
    report: bytes = b""
    """The AgentMessage with its result."""
    inline: bool = False
    """Whether the result carries the whole output."""
    output: OutputBuffer | None = None
    run: InAgentRun | None = None
    """Set while it runs inside the agent; otherwise the launcher has it."""
    is_process: bool = False
    cancelled: bool = False
    """A cancel or revocation came before its start, or this agent is being stopped."""
    asked: bool = False
    """The controller wants its end; otherwise it is this agent's stop that ends it."""
    dropped: bool = False
    """The stream ended before its ACCEPT was durable: it must not start any more."""

    @property
    def ended(self) -> bool:
        """Whether its result is durable."""
        return self.state == FINISHED
