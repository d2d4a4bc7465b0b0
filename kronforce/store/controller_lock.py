"""Being a PostgreSQL database's only controller: an advisory lock on a connection of its own.

On SQLite a lock file beside the database does this (`kronforce.data_dir`).
"""

from __future__ import annotations

import sqlalchemy as sa

from kronforce.store.faults import driver_error

# Any number that nothing else in the database uses for its own locks.
_CONTROLLER_LOCK = 0x6B72_6F6E_0002

# A killed controller's connection may take a moment to be noticed.
WAIT_MS = 5_000
# SQLSTATE of a lock that was waited for in vain.
_LOCK_NOT_AVAILABLE = "55P03"


class ControllerRunningError(Exception):
    """Another controller uses this database."""


class ControllerLock:
    """Says that this process is the database's one controller, as long as it is held."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def is_held(self) -> bool:
        """Whether the server still knows our connection; False: stop at once."""
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except sa.exc.DBAPIError:
            return False
        return True

    def release(self) -> None:
        """Let another controller start."""
        self._connection.close()


def take_controller_lock(engine: sa.Engine) -> ControllerLock | None:
    """Become the only controller on a PostgreSQL database.

    Raises ControllerRunningError if there is one, SQLAlchemyError if the database does not say.

    None on SQLite, where a lock file beside the database does this.
    """
    if engine.dialect.name == "sqlite":
        return None
    connection = engine.execution_options(isolation_level="AUTOCOMMIT").connect()
    # Out of the pool: the lock is the connection's, which must stay open and ours.
    connection.detach()
    try:
        connection.exec_driver_sql(f"SET lock_timeout = {WAIT_MS}")
        connection.execute(sa.select(sa.func.pg_advisory_lock(_CONTROLLER_LOCK)))
        connection.exec_driver_sql("SET lock_timeout = 0")
    except sa.exc.SQLAlchemyError as error:
        connection.close()
        if getattr(driver_error(error), "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            # Cut while it waited, or the server went: that says nothing of another controller.
            raise
        url = engine.url.render_as_string(hide_password=True)
        raise ControllerRunningError(f"another controller uses {url}; stop it first") from error
    return ControllerLock(connection)
