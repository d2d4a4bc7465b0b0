"""Audit entries, and what checking them found."""

from __future__ import annotations

import json
import re
from typing import Any

from google.protobuf.struct_pb2 import Struct

from kronforce.api.convert.instants import stamp
from kronforce.errors import InvalidPageToken
from kronforce.store.audit import AuditRow
from kronforce.store.audit_verify import START, Checked, Place
from kronforce.v1.audit_pb2 import AuditEntry
from kronforce.v1.audit_service_pb2 import AuditFault, VerifyAuditResponse

_PLACE = re.compile(r"(\d{1,7})-(\d{1,13})")


def audit_message(row: AuditRow) -> AuditEntry:
    """The row as a message."""
    detail = json.loads(row.detail) if row.detail else {}
    return AuditEntry(
        chain_id=row.chain_id,
        sequence=row.seq,
        at=stamp(row.at),
        actor=row.actor,
        actor_id=row.actor_id,
        operation=row.operation,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        resource_name=row.resource_name,
        group=row.group_name,
        refused=row.refused,
        peer=row.peer,
        surface=row.surface,
        before=_struct(detail.get("before")),
        after=_struct(detail.get("after")),
        details=_struct(detail.get("details")),
        hash=row.hash.hex(),
    )


def checked_message(found: Checked) -> VerifyAuditResponse:
    """What one call of a check found."""
    return VerifyAuditResponse(
        ok=not found.faults,
        checked=found.entries,
        chains=found.chains,
        cut=found.cut,
        faults=[
            AuditFault(
                chain_id=one.chain_id, sequence=one.seq, fault=one.fault, message=one.message
            )
            for one in found.faults
        ],
        next_page_token="" if found.after is None else f"{found.after[0]}-{found.after[1]}",
    )


def place_of(token: str) -> Place:
    """Where a check goes on; raises InvalidPageToken for text that is no place."""
    if not token:
        return START
    found = _PLACE.fullmatch(token)
    if found is None:
        raise InvalidPageToken("page_token: was not made by this check; start over without it")
    return int(found[1]), int(found[2])


def _struct(plain: Any) -> Struct | None:
    if plain is None:
        return None
    struct = Struct()
    struct.update(plain)
    return struct
