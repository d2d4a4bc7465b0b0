"""Which tables of a PostgreSQL database are ours, and moving them out of the way.

A database may hold other things, in the same schema too; those are neither
backed up nor moved. Partitions are found by their parents.
"""

from __future__ import annotations

import itertools

import sqlalchemy as sa

from kronforce.store import revisions, tables
from kronforce.store.database import Tx

MAIN_VERSION = revisions.MAIN.version_table

# A table that a later version renames or drops stays known here by its old name.
_NAMES = (
    *tables.metadata.tables,
    *tables.output_metadata.tables,
    MAIN_VERSION,
    revisions.OUTPUT.version_table,
)


def namespace(tx: Tx) -> str:
    """The schema that our tables are in, or would be made in."""
    return str(tx.conn.scalar(sa.text("SELECT current_schema()")) or "public")


def own_tables(tx: Tx) -> list[str]:
    """Their names, partitions and version tables included."""
    query = sa.text(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_inherits i ON i.inhrelid = c.oid "
        "LEFT JOIN pg_class parent ON parent.oid = i.inhparent "
        "WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') "
        "AND coalesce(parent.relname, c.relname) = ANY(:names) ORDER BY c.relname"
    )
    return list(tx.conn.scalars(query, {"names": list(_NAMES)}))


def set_aside(tx: Tx, wanted: str) -> str:
    """Move them into another schema, made for them, of about this name; empty: there were none."""
    found, here = own_tables(tx), namespace(tx)
    if not found:
        return ""
    aside = _free_name(tx, wanted)
    quote = tx.conn.dialect.identifier_preparer.quote
    tx.conn.exec_driver_sql(f"CREATE SCHEMA {quote(aside)}")
    for name in found:
        tx.conn.exec_driver_sql(
            f"ALTER TABLE {quote(here)}.{quote(name)} SET SCHEMA {quote(aside)}"
        )
    return aside


def _free_name(tx: Tx, wanted: str) -> str:
    taken = set(tx.conn.scalars(sa.text("SELECT nspname FROM pg_namespace")))
    names = itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
