"""`kronforce restore`: a backup becomes the database, and a new history begins.

Nothing that is there is touched before the backup has been read whole and
checked; then what lay there is moved aside. Every number that the forgotten
time may have used is raised first (`store.new_history`), so that no report of
then passes for one of now. A restore that is cut off leaves something that no
controller starts on, and may be repeated.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.host import archive, key_files, postgresql_tools
from kronforce.host.archive import Manifest, Progress
from kronforce.host.backup import DUMP, MAIN, OUTPUT
from kronforce.host.opening import HostError, alone, explained, opened
from kronforce.host.restore_files import Files
from kronforce.host.restore_postgresql import Server
from kronforce.store.copying import DamagedError, check_file
from kronforce.store.database import reading
from kronforce.store.revisions import knows

# What a backup of each store is made of.
_PARTS = {"sqlite": {"main": MAIN, "output": OUTPUT}, "postgresql": {"dump": DUMP}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What is there now, and where what lay there before has gone."""

    manifest: Manifest
    fence: int
    aside: tuple[str, ...]
    keys: tuple[str, ...]
    # What to put right before a controller is started.
    troubles: tuple[str, ...]


def check(source: Path, progress: Progress) -> Manifest:
    """Read a backup through as a restore would; nothing is changed. Raises HostError."""
    manifest = archive.read_manifest(source)
    with tempfile.TemporaryDirectory(prefix="kronforce-check-") as made:
        _read(source, manifest, Path(made), progress)
    return manifest


def restore(
    config: Config, source: Path, clock: Clock, progress: Progress, *, force: bool
) -> Restored:
    """Put a backup in place. Raises HostError.

    What is there already is refused, or with `force` moved aside.
    """
    manifest = archive.read_manifest(source)
    _check_fits(config, manifest)
    with alone(config, folder=True), explained(config):
        place = (Files if config.sqlite else Server)(config, manifest, clock, force=force)
        with place.staging() as staged:
            _read(source, manifest, staged, progress)
            progress("restoring", 0, 0)
            fence, aside = place.put(staged)
        return Restored(
            manifest=manifest,
            fence=fence,
            aside=aside,
            keys=tuple(part.name for part in manifest.parts if part.kind == "key"),
            troubles=_troubles(config),
        )


def _check_fits(config: Config, manifest: Manifest) -> None:
    wanted = "sqlite" if config.sqlite else "postgresql"
    if manifest.store != wanted:
        other = "a postgresql:// URL" if manifest.store == "postgresql" else "a file"
        raise HostError(
            f"this is a backup of {manifest.store}, and the database is {wanted}; name {other}"
            " with --db"
        )
    for part, revision in manifest.schema.items():
        if not knows(part, revision):
            raise HostError(
                f"this backup was made by version {manifest.version}, whose schema ({part}:"
                f" {revision}) this version does not know; restore it with that version"
            )


def _read(source: Path, manifest: Manifest, folder: Path, progress: Progress) -> None:
    """Write the parts into the folder and look through them."""
    _check_parts(manifest)
    _check_room(manifest, folder)
    if archive.extract(source, folder, progress) != manifest:
        raise HostError(f"{source} was changed while it was read")
    progress("checking", 0, 0)
    if manifest.store == "postgresql":
        postgresql_tools.check(folder / DUMP)
        return
    for name in (MAIN, OUTPUT):
        try:
            check_file(folder / name, thorough=False)
        except DamagedError as error:
            raise HostError(f"{name} in the backup is damaged: {error}") from error


def _check_parts(manifest: Manifest) -> None:
    wanted = _PARTS.get(manifest.store, {})
    found = {part.kind: part.name for part in manifest.parts if part.kind != "key"}
    keys = [Path(part.name) for part in manifest.parts if part.kind == "key"]
    whole = len(found) + len(keys) == len(manifest.parts)
    if not wanted or found != wanted or not whole:
        raise HostError(f"the backup does not hold {', '.join(wanted.values()) or 'a database'}")
    if not all(key.match(key_files.PATTERN) for key in keys):
        raise HostError("the backup holds a key under a name that no key has: it is damaged")


def _check_room(manifest: Manifest, folder: Path) -> None:
    needed = sum(part.size for part in manifest.parts)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HostError(
            f"the backup holds {needed >> 20} MiB and {folder.parent} has {free >> 20} MiB free:"
            " make room there"
        )


def _troubles(config: Config) -> tuple[str, ...]:
    with opened(config) as database, reading(database.main) as tx:
        found = (key_files.secrets_trouble(config, tx), key_files.audit_trouble(config, tx))
    return tuple(trouble for trouble in found if trouble)
