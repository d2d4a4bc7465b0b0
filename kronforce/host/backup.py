"""`kronforce backup`: everything that a controller elsewhere needs to go on, in one file.

The database at one moment, while it is written to; the output that its rows
refer to; the keys of the data folder. Agents' folders are the agents' own:
what they have finished and not reported is told to whichever controller is
there when they come back.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kronforce import __version__
from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.host import archive, key_files, postgresql_tools
from kronforce.host.archive import Manifest, Progress, part_of
from kronforce.host.opening import HostError, opened_current
from kronforce.host.workplace import workplace
from kronforce.store import own_tables, secret_keys
from kronforce.store.copying import DamagedError, check_file, copy_files
from kronforce.store.database import Database, output_file, reading
from kronforce.store.revisions import schema_states

# What the parts are called; their kind is main, output or dump.
MAIN, OUTPUT, DUMP = "kronforce.db", "kronforce-output.db", "postgresql.dump"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How a backup is to be made.

    `thorough` reads the finished file back and has the database looked through.
    """

    target: Path
    with_keys: bool = True
    overwrite: bool = False
    thorough: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A backup that is on disk."""

    path: Path
    size: int
    keys: tuple[str, ...]
    # There are secrets, and the key that opens them is not among the keys.
    secrets_key_missing: bool


def make(config: Config, wanted: Wanted, clock: Clock, progress: Progress) -> Made:
    """Write a backup. Raises HostError; the target is then as it was."""
    target = wanted.target
    if target.exists() and not wanted.overwrite:
        raise HostError(f"{target} is there already; another name, or --force")
    if not target.parent.is_dir():
        raise HostError(f"there is no folder {target.parent} to write the backup to")
    try:
        with (
            opened_current(config) as database,
            # Beside the target: that is where room for it was meant to be.
            workplace(target.parent, ".kronforce-backup-") as made,
        ):
            return _Making(config, database, wanted, made, progress).run(clock)
    except OSError as error:
        raise HostError(f"cannot write the backup {target}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise HostError(f"cannot copy {config.db}: {error}") from error


class _Making:
    """One backup in the making."""

    def __init__(
        self, config: Config, database: Database, wanted: Wanted, folder: Path, progress: Progress
    ) -> None:
        self._config = config
        self._database = database
        self._wanted = wanted
        self._folder = folder
        self._progress = progress

    def run(self, clock: Clock) -> Made:
        now, target = clock.now(), self._wanted.target
        # Keys first: what is wrong with them is said before anybody waits for a copy.
        keys, missing = self._copy_keys()
        kinds = self._copy_store()
        files = [self._folder / name for name in [*kinds, *keys]]
        self._progress("hashing", 0, 0)
        manifest = Manifest(
            format=archive.FORMAT,
            version=__version__,
            created_at=now.isoformat(timespec="seconds"),
            store="sqlite" if self._config.sqlite else "postgresql",
            schema={each.part: each.current or "" for each in schema_states(self._database)},
            namespace=self._namespace(),
            parts=tuple(part_of(path, kinds.get(path.name, "key")) for path in files),
        )
        archive.write(target, manifest, files, self._folder, self._progress)
        if self._wanted.thorough:
            self._read_back()
        return Made(
            path=target, size=target.stat().st_size, keys=tuple(keys), secrets_key_missing=missing
        )

    def _namespace(self) -> str:
        if self._config.sqlite:
            return ""
        with reading(self._database.main) as tx:
            return own_tables.namespace(tx)

    def _copy_keys(self) -> tuple[list[str], bool]:
        """The names of those copied, and whether secrets are there without their key."""
        with reading(self._database.main) as tx:
            files = key_files.to_pack(self._config, tx) if self._wanted.with_keys else []
            secrets = bool(secret_keys.all_keys(tx))
        for path in files:
            shutil.copyfile(path, self._folder / path.name)
        names = [path.name for path in files]
        return names, secrets and key_files.SECRETS not in names

    def _copy_store(self) -> dict[str, str]:
        """Copy the store into the folder; the kind of each file by its name."""
        if self._config.sqlite:
            self._copy_files()
            return {MAIN: "main", OUTPUT: "output"}
        with reading(self._database.main) as tx:
            tables = [name for name in own_tables.own_tables(tx) if name != own_tables.MAIN_VERSION]
            schema = own_tables.namespace(tx)
        self._progress("pg_dump", 0, 0)
        postgresql_tools.dump(self._config.db, schema, tables, self._folder / DUMP)
        return {DUMP: "dump"}

    def _copy_files(self) -> None:
        main = Path(self._config.db)
        pairs = [(main, self._folder / MAIN), (output_file(main), self._folder / OUTPUT)]
        _check_room(pairs, self._folder, self._config)
        copy_files(pairs, lambda done, total: self._progress("copying", done, total))
        for _, copied in pairs if self._wanted.thorough else ():
            self._progress("checking", 0, 0)
            _check(copied)

    def _read_back(self) -> None:
        again = self._folder / "again"
        again.mkdir(mode=0o700)
        archive.extract(self._wanted.target, again, self._progress)
        if not self._config.sqlite:
            postgresql_tools.check(again / DUMP)


def _check(path: Path) -> None:
    try:
        check_file(path, thorough=True)
    except DamagedError as error:
        raise HostError(
            f"the database is damaged, so no backup was made: {path.name}: {error};"
            " restore an older backup"
        ) from error


def _check_room(pairs: Sequence[tuple[Path, Path]], folder: Path, config: Config) -> None:
    """For the copy and for what is packed of it, which may be as large."""
    needed = 2 * sum(source.stat().st_size for source, _ in pairs)
    if folder.stat().st_dev == pairs[0][0].stat().st_dev:
        # Below this the controller would refuse triggers.
        needed += config.disk_reserve
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HostError(
            f"{folder.parent} has {free >> 20} MiB free and a backup may need {needed >> 20} MiB"
            " there: write it elsewhere with --out"
        )
