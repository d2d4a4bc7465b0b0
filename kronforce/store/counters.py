"""Named numbers that every transaction may read.

Raising one locks its row until the end of the transaction: whoever raises it
first is alone with what the number guards.
"""

from __future__ import annotations

import sqlalchemy as sa

from kronforce.store import dialect
from kronforce.store.database import Tx
from kronforce.store.prepared import Prepared
from kronforce.store.tables import counters

KEY_REVISION = "key_revision"

# Asked every second, by a controller that has nothing else to do too.
_VALUE = Prepared(
    lambda sqlite: sa.select(counters.c.value).where(counters.c.name == sa.bindparam("name"))
)


def raise_by(tx: Tx, name: str, by: int = 1) -> int:
    """Raise the counter, made where it is missing; its new value."""
    insert = dialect.insert_into(counters, sqlite=tx.sqlite).values(name=name, value=by)
    statement = insert.on_conflict_do_update(
        index_elements=[counters.c.name], set_={"value": counters.c.value + by}
    ).returning(counters.c.value)
    return int(tx.conn.execute(statement).scalar_one())


def set_to(tx: Tx, name: str, value: int) -> None:
    """Set the number, made where it is missing."""
    insert = dialect.insert_into(counters, sqlite=tx.sqlite).values(name=name, value=value)
    tx.conn.execute(
        insert.on_conflict_do_update(index_elements=[counters.c.name], set_={"value": value})
    )


def value_of(tx: Tx, name: str) -> int:
    """The counter's value; 0 where nobody has raised it."""
    rows = _VALUE.run(tx, name=name)
    return int(rows[0][0]) if rows else 0
