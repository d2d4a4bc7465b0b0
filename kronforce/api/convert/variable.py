"""Variables; of a secret only that there is one."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.core.ids import to_text
from kronforce.engine.values.changes import etag_of
from kronforce.security.secret import MASK
from kronforce.store.variables import VariableRow
from kronforce.v1.variable_pb2 import Variable


def variable_message(row: VariableRow, now: int) -> Variable:
    """The variable as everybody who may see it sees it."""
    return Variable(
        id=to_text(row.id),
        name=row.name,
        value=MASK if row.secret else row.value.decode(),
        secret=row.secret,
        description=row.description,
        expires_at=stamp_or_none(row.expires_at),
        allowed_groups=row.allowed_groups,
        created_at=stamp(row.created_at),
        updated_at=stamp(row.updated_at),
        updated_by=row.updated_by,
        etag=etag_of(row),
        expired=row.expires_at is not None and row.expires_at <= now,
    )
