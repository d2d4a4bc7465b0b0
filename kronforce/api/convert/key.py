"""Keys: from rows; nothing that could be called with is in them."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.core import ids
from kronforce.store.keys import KeyRow
from kronforce.v1 import api_key_pb2 as pb
from kronforce.v1 import options_pb2


def to_message(row: KeyRow) -> pb.ApiKey:
    """The contract's form, without hash or secret."""
    return pb.ApiKey(
        id=ids.to_text(row.id),
        name=row.name,
        role=pb.Role.ValueType(row.role),
        prefix=row.prefix,
        allowed_groups=row.allowed_groups,
        allowed_networks=row.allowed_networks,
        expires_at=stamp_or_none(row.expires_at),
        created_at=stamp(row.created_at),
        last_used_at=stamp_or_none(row.last_used_at),
        revoked_at=stamp_or_none(row.revoked_at),
        surface=options_pb2.Surface.ValueType(row.surface),
    )
