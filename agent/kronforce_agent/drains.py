"""Why this agent takes no new work: causes come and go, the controller hears of the agent's own."""

from __future__ import annotations

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.outbox import Outbox

BY_CONTROLLER = "controller"


class Drains:
    """By cause: `controller`, `stopping`, `spool`, `journal`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._reasons: dict[str, str] = {}

    @property
    def reason(self) -> str:
        """Any one reason; empty: work is taken."""
        return next(iter(self._reasons.values()), "")

    def set(self, cause: str, reason: str) -> None:
        """Take no new work because of `cause`; an empty reason takes that back."""
        before = self._own()
        self._put(cause, reason)
        after = self._own()
        if bool(before) != bool(after):
            self._tell(after)

    def set_by_controller(self, draining: bool) -> None:
        """Nobody needs to be told."""
        self._put(BY_CONTROLLER, "the controller said so" if draining else "")

    def tell_again(self) -> None:
        """A new session does not know."""
        if own := self._own():
            self._tell(own)

    def _put(self, cause: str, reason: str) -> None:
        self._reasons.pop(cause, None)
        if reason:
            self._reasons[cause] = reason

    def _own(self) -> str:
        return next((why for cause, why in self._reasons.items() if cause != BY_CONTROLLER), "")

    def _tell(self, reason: str) -> None:
        drain = pb.AgentDrain(draining=bool(reason), reason=reason)
        self._outbox.put(pb.AgentMessage(drain=drain).SerializeToString())
