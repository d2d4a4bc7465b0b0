"""What a lost attempt means: it started, or may have, and nobody can say how it ended.

Never "exactly once": an operator chooses between a run that may not have
happened and one that may have happened twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from kronforce.core.lifecycle import Reason, State

# A job that takes three agents down with it is the likelier cause than three accidents.
QUARANTINE_AFTER = 3


class Delivery(IntEnum):
    """The job's choice; numbers are the contract's."""

    AT_MOST_ONCE = 1
    AT_LEAST_ONCE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """How the lost attempt ends, and whether another follows (outside `retry_max`)."""

    state: State
    reason: Reason
    redeliver: bool


def decide_loss(
    delivery: Delivery,
    *,
    lost_attempts: int,
    reason: Reason = Reason.AGENT_LOST,
    cancelling: bool = False,
) -> Loss:
    """Judge an attempt that was lost; `lost_attempts` counts it too, so from 1.

    `reason` says how it was lost (`agent_lost`, `agent_restarted`,
    `launcher_died`). Nobody runs again what somebody wanted to end.
    """
    if delivery is Delivery.AT_MOST_ONCE or cancelling:
        return Loss(state=State.LOST, reason=reason, redeliver=False)
    if lost_attempts >= QUARANTINE_AFTER:
        return Loss(state=State.LOST, reason=Reason.QUARANTINED, redeliver=False)
    return Loss(state=State.LOST, reason=reason, redeliver=True)
