"""Which schema a database has, and which one this version needs; nothing is changed.

Every start asks this, so it does without Alembic, which takes longer to load than all of it: a
revision is the number in its file's name (`m0002_what.py` is 0002), and a test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from kronforce.store import tables
from kronforce.store.database import Database, reading

FOLDER = Path(__file__).parent / "migrations"

# In place of a revision while a restore fills a PostgreSQL database.
RESTORING = "restoring"


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """One of the two sequences of migrations; `part` is its folder and its name in a backup."""

    part: str
    version_table: str
    metadata: sa.MetaData


MAIN = History(part="main", version_table="schema_version", metadata=tables.metadata)
OUTPUT = History(
    part="output", version_table="output_schema_version", metadata=tables.output_metadata
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaState:
    """How one of the two histories stands; `current` is None in a database without tables."""

    part: str
    current: str | None
    newest: str
    known: bool

    @property
    def restoring(self) -> bool:
        """Whether a restore was begun and not finished."""
        return self.current == RESTORING

    @property
    def pending(self) -> bool:
        """Whether this version would migrate it."""
        return self.known and self.current != self.newest


def histories(database: Database) -> tuple[tuple[sa.Engine, History], ...]:
    """Both, each with where it is kept."""
    return ((database.main, MAIN), (database.output, OUTPUT))


def schema_states(database: Database) -> list[SchemaState]:
    """Where both histories stand."""
    return [state(engine, history) for engine, history in histories(database)]


def is_current(database: Database) -> bool:
    """Whether nothing is to be migrated."""
    return all(each.current == each.newest for each in schema_states(database))


def state(engine: sa.Engine, history: History) -> SchemaState:
    """Where one history stands."""
    revisions = _revisions(history)
    current = _current(engine, history)
    return SchemaState(
        part=history.part,
        current=current,
        newest=revisions[-1],
        known=current is None or current in revisions,
    )


def knows(part: str, revision: str) -> bool:
    """Whether this version can take this history (`main` or `output`) from there to its own."""
    return any(h.part == part and revision in _revisions(h) for h in (MAIN, OUTPUT))


def _revisions(history: History) -> list[str]:
    """Those that this version knows, oldest first."""
    return sorted(path.name[1:5] for path in (FOLDER / history.part).glob("m[0-9]*_*.py"))


def _current(engine: sa.Engine, history: History) -> str | None:
    with reading(engine) as tx:
        if not sa.inspect(tx.conn).has_table(history.version_table):
            return None
        query = sa.select(sa.column("version_num", sa.String)).select_from(
            sa.table(history.version_table)
        )
        revision: str | None = tx.conn.scalars(query).one_or_none()
        return revision
