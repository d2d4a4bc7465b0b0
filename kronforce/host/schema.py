"""What schema a database has, and bringing it to this version's by an operator's word.

SQLite files are migrated at every start, PostgreSQL only here. A controller
that runs keeps this out, and nothing newer than this version is touched.
"""

from __future__ import annotations

from kronforce.config import Config
from kronforce.host.opening import alone, check_whole, opened
from kronforce.store.migrate import migrate
from kronforce.store.revisions import SchemaState, schema_states

__all__ = ["SchemaState", "current", "upgrade"]


def current(config: Config) -> list[SchemaState]:
    """Where both histories stand. Raises HostError."""
    with opened(config) as database:
        return schema_states(database)


def upgrade(config: Config) -> list[SchemaState]:
    """Migrate, on SQLite after a copy beside the file; how it stood before. Raises HostError."""
    with opened(config) as database, alone(config):
        check_whole(config, database)
        before = schema_states(database)
        migrate(database, force=True)
        return before
