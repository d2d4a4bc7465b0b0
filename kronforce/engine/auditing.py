"""The one way in which a use case tells the audit log what a principal did.

Call `record` inside the function that makes the change, with the same `tx`:
entry and change are then committed together, and an error takes back both.
`before` and `after` are what a reader of the thing would be shown (a message of
the contract, or plain data): never a hash, never a secret's value. What the
controller does by itself is not recorded here; it is in the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from kronforce.core.audit_detail import audit_detail
from kronforce.store import audit
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce_client.dialect import render

State = Message | Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """What it was done to: `type` is the noun of the command (`job`, `variable`, `key`)."""

    type: str
    id: str = ""
    name: str = ""
    # Empty: it belongs to none.
    group: str = ""


def record(
    tx: Tx,
    actor: Actor,
    at: int,
    operation: str,
    resource: Resource,
    *,
    before: State = None,
    after: State = None,
    details: Mapping[str, Any] | None = None,
    refused: bool = False,
) -> None:
    """Have the audit log say it with this transaction. `operation` is `noun.participle`.

    Leave out `before` of what is made and `after` of what is deleted. Texts that stand under a
    telling name (`password`, `token` …) are masked, long ones cut.
    """
    audit.note(
        tx,
        audit.NewEntry(
            at=at,
            actor=actor,
            operation=operation,
            resource_type=resource.type,
            resource_id=resource.id,
            resource_name=resource.name,
            group=resource.group,
            refused=refused,
            detail=audit_detail(_plain(before), _plain(after), details),
        ),
    )


def _plain(state: State) -> Mapping[str, Any] | None:
    if not isinstance(state, Message):
        return state
    plain: Mapping[str, Any] = render(state, omit_defaults=True)
    return plain
