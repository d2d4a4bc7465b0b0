"""A restore on PostgreSQL: our tables are moved into a schema aside, then made from the dump.

Between the two the database says that a restore is under way, and no
controller starts on it; the last transaction makes it ours again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.failpoints import failpoint
from kronforce.host import postgresql_tools, swapping
from kronforce.host.archive import Manifest, part_of
from kronforce.host.backup import DUMP
from kronforce.host.beginning import begin
from kronforce.host.opening import HostError, opened
from kronforce.host.workplace import workplace
from kronforce.store import migrate, own_tables
from kronforce.store.database import Database, reading, writing

_set_aside = failpoint("host.restore.set_aside")
_loaded = failpoint("host.restore.loaded")


class Server:
    """Our tables in a PostgreSQL database, and the keys of the data folder."""

    def __init__(self, config: Config, manifest: Manifest, clock: Clock, *, force: bool) -> None:
        self._config = config
        self._manifest = manifest
        self._clock = clock
        self._check(force=force)

    def _check(self, *, force: bool) -> None:
        with opened(self._config) as database, reading(database.main) as tx:
            there, here = own_tables.own_tables(tx), own_tables.namespace(tx)
            where = database.location
        if there not in ([], [own_tables.MAIN_VERSION]) and not force:
            raise HostError(
                f"{where} holds tables of Kronforce already; name an empty database with --db, or"
                " say --force to have them moved into a schema aside"
            )
        if here != self._manifest.namespace:
            raise HostError(
                f"the backup's tables were in schema {self._manifest.namespace!r}, and those of"
                f" {where} would be in {here!r}: set the search_path of its role to the former"
            )
        if (changed := self._changed_keys()) and not force:
            raise HostError(
                f"{changed[0]} is there already and is another than the backup's; choose an empty"
                " --data-dir, or say --force to have what is there moved aside"
            )

    def _keys(self) -> list[str]:
        return [part.name for part in self._manifest.parts if part.kind == "key"]

    def _changed_keys(self) -> list[Path]:
        """Key files in the data folder that are not what the backup has under their name."""
        parts = {part.name: part for part in self._manifest.parts}
        paths = [self._config.data_dir / name for name in self._keys()]
        there = [path for path in paths if path.exists()]
        return [p for p in there if part_of(p, "key").sha256 != parts[p.name].sha256]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for the dump: below the data folder, from which keys can be renamed."""
        with workplace(self._config.data_dir, swapping.STAGING) as made:
            yield made

    def put(self, staged: Path) -> tuple[int, tuple[str, ...]]:
        """Swap and begin the new history; the last fence of the old one, and what is aside."""
        folder = self._config.data_dir
        aside: list[str] = []
        swapping.mark(folder)
        with opened(self._config) as database:
            aside += self._set_aside(database)
            postgresql_tools.load(self._config.db, staged / DUMP)
            _loaded()
            migrate.migrate_output(database)
            with writing(database.main) as tx:
                migrate.adopt_main(tx, self._manifest.schema["main"])
                fence = begin(tx, self._manifest, self._clock, (staged, folder))
        keys = {staged / name: folder / name for name in self._keys()}
        if found := self._changed_keys():
            aside.append(str(swapping.move_aside(folder, found, self._clock)))
        swapping.place(folder, keys)
        swapping.unmark(folder)
        return fence, tuple(aside)

    def _set_aside(self, database: Database) -> list[str]:
        """The schema that they are in now, if there were any."""
        name = f"before_restore_{self._clock.now():%Y%m%dt%H%M%S}"
        with writing(database.main) as tx:
            moved = own_tables.set_aside(tx, name)
            migrate.mark_restoring(tx)
        _set_aside()
        return [f"schema {moved}"] if moved else []
