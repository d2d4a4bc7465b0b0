"""The store of a data folder, opened by a command and not by its controller.

Whoever may read the folder may do this: no key is asked for. A file that is
not there is never made, and what goes wrong is one sentence with the way out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from kronforce import data_dir
from kronforce.config import CannotStart, Config
from kronforce.store.controller_lock import ControllerRunningError, take_controller_lock
from kronforce.store.database import Database, open_database
from kronforce.store.migrate import SchemaError
from kronforce.store.revisions import is_current, schema_states


class HostError(Exception):
    """Why a command at the data folder does nothing: one sentence with the way out."""


@contextmanager
def opened(config: Config) -> Iterator[Database]:
    """The database as it is; nothing is migrated. Raises HostError."""
    if config.sqlite and not Path(config.db).is_file():
        raise HostError(
            f"there is no database {config.db}; name the controller's data folder with"
            " --data-dir, or its database with --db"
        )
    with explained(config):
        database = open_database(config.db)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def opened_current(config: Config) -> Iterator[Database]:
    """The same, if its schema is this version's."""
    with opened(config) as database:
        check_whole(config, database)
        if not is_current(database):
            raise HostError(
                f"the schema of {database.location} is not this version's (kronforce db current);"
                " use the version that it belongs to, or upgrade it first: start the controller,"
                " or with PostgreSQL kronforce db migrate"
            )
        yield database


def check_whole(config: Config, database: Database) -> None:
    """Raises HostError where a restore was cut off: what is there is half of two histories."""
    marked = (config.data_dir / data_dir.RESTORING).exists()
    if marked or any(state.restoring for state in schema_states(database)):
        where = config.data_dir if marked else database.location
        raise HostError(
            f"a restore into {where} was not finished: repeat it with"
            " kronforce restore FILE --force"
        )


@contextmanager
def alone(config: Config, *, folder: bool = False) -> Iterator[None]:
    """Keep every controller out of the database. Raises HostError.

    With SQLite out of the data folder too, which is made where it is not; with
    PostgreSQL, whose database may be worked on from anywhere, only with `folder`.
    """
    with ExitStack() as stack:
        try:
            if config.sqlite or folder:
                data_dir.prepare(config.data_dir, unfinished=True)
                stack.enter_context(data_dir.held(config.data_dir))
            if config.sqlite:
                stack.enter_context(data_dir.database_held(Path(config.db)))
            else:
                stack.enter_context(_postgresql_held(config))
        except data_dir.FolderInUse as error:
            raise HostError(f"{error.holder}: stop it first") from error
        except (CannotStart, ControllerRunningError) as error:
            raise HostError(str(error)) from error
        yield


@contextmanager
def _postgresql_held(config: Config) -> Iterator[None]:
    with explained(config):
        database = open_database(config.db)
        lock = None
        try:
            lock = take_controller_lock(database.main)
            yield
        finally:
            if lock is not None:
                lock.release()
            database.close()


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """What the store says becomes a HostError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise HostError(
            f"cannot open the database: {error}; PostgreSQL needs pip install 'kronforce[postgres]'"
        ) from error
    except SchemaError as error:
        raise HostError(str(error)) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        where = config.db if config.sqlite else "at KRONFORCE_DB"
        raise HostError(f"cannot use the database {where}: {reason}; see --db") from error


def belongs_to_owner(path: Path, folder: Path) -> None:
    """What root writes into somebody's data folder is theirs: their controller must read it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
