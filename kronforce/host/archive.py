"""The file that a backup is: a tar whose first member says what the others are.

Written whole or not at all, readable by its owner alone. Reading believes
nothing of it: names are checked, and every part's length and hash. Those find
damage, not malice: keep the file where nobody else writes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from kronforce.host.opening import HostError

FORMAT = 1
MANIFEST = "manifest.json"
# Far above what any manifest needs; a bound for what is read into memory.
MANIFEST_LIMIT = 1 << 20
# Fast rather than small: deeper levels cost several times as long for a tenth less.
GZIP_LEVEL = 1
READ_BYTES = 1 << 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")

Progress = Callable[[str, int, int], None]
"""What is being done, bytes done, bytes in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file in the archive. `kind`: main, output, dump (PostgreSQL) or key."""

    name: str
    kind: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What was backed up, when, by which version.

    `schema` has the revision of each history (main, output); `namespace` is the
    PostgreSQL schema that the tables were in.
    """

    format: int
    version: str
    created_at: str
    store: str
    schema: dict[str, str]
    namespace: str
    parts: tuple[Part, ...]

    def part(self, kind: str) -> Part:
        """The one part of this kind. Raises HostError."""
        found = [part for part in self.parts if part.kind == kind]
        if len(found) != 1:
            raise HostError(f"the backup has {len(found)} parts of kind {kind!r}: it is damaged")
        return found[0]


def part_of(path: Path, kind: str) -> Part:
    """The part that a file becomes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(name=path.name, kind=kind, size=path.stat().st_size, sha256=digest)


def write(
    target: Path, manifest: Manifest, files: Sequence[Path], folder: Path, progress: Progress
) -> None:
    """Write the archive, compressed unless it ends in `.tar`; in the folder until it is whole."""
    partial = folder / "partial"
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as raw:
        with _compressed(raw, target) as out, tarfile.open(fileobj=out, mode="w|") as tar:
            _add(tar, MANIFEST, io.BytesIO(_text(manifest)), len(_text(manifest)))
            _add_files(tar, files, progress)
        raw.flush()
        os.fsync(raw.fileno())
    partial.replace(target)
    _sync_folder(target.parent)


def _add_files(tar: tarfile.TarFile, files: Sequence[Path], progress: Progress) -> None:
    total = sum(file.stat().st_size for file in files)
    done = 0
    for path in files:
        with path.open("rb") as file:
            counted = _Counted(file, partial(_further, progress, done, total))
            _add(tar, path.name, counted, path.stat().st_size)
        done += path.stat().st_size


def _further(progress: Progress, before: int, total: int, done: int) -> None:
    progress("writing", before + done, total)


def _add(tar: tarfile.TarFile, name: str, file: Any, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    tar.addfile(info, file)


def _text(manifest: Manifest) -> bytes:
    return json.dumps(asdict(manifest), indent=2).encode()


@contextmanager
def _compressed(raw: IO[bytes], target: Path) -> Iterator[IO[bytes]]:
    if target.suffix == ".tar":
        yield raw
        return
    with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=GZIP_LEVEL, filename="") as out:
        yield out  # type: ignore[misc] # it is binary and writes


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], told: Callable[[int], None]) -> None:
        self._file = file
        self._told = told
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        self._told(self._done)
        return data


def read_manifest(source: Path) -> Manifest:
    """What the archive says it is. Raises HostError."""
    with _opened(source) as tar:
        return _manifest(source, tar)


def extract(source: Path, folder: Path, progress: Progress) -> Manifest:
    """Write every part into the folder, checked against its hash. Raises HostError."""
    with _opened(source) as tar:
        manifest = _manifest(source, tar)
        total = sum(part.size for part in manifest.parts)
        waiting = {part.name: part for part in manifest.parts}
        done = 0
        while (member := tar.next()) is not None:
            part = waiting.pop(member.name, None)
            if part is None or not member.isreg():
                raise HostError(f"{source} holds {member.name!r}, which its manifest does not name")
            if member.size != part.size:
                raise HostError(_damaged(part))
            _extract_one(tar, member, part, folder / part.name)
            done += part.size
            progress("reading", done, total)
        if waiting:
            raise HostError(f"{source} is cut off: {', '.join(waiting)} is missing")
    return manifest


def _extract_one(tar: tarfile.TarFile, member: tarfile.TarInfo, part: Part, target: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None
    digest = hashlib.sha256()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        while data := content.read(READ_BYTES):
            digest.update(data)
            out.write(data)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != part.sha256:
        raise HostError(_damaged(part))


def _damaged(part: Part) -> str:
    return f"{part.name} in the backup is damaged: it is not what was written; use another backup"


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, mode="r|*") as tar:
            yield tar
    except FileNotFoundError as error:
        raise HostError(f"there is no file {source}") from error
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise HostError(f"cannot restore {source}: {error.strerror}") from error
        raise HostError(f"{source} is no backup, or damaged: {error}") from error


def _manifest(source: Path, tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST or first.size > MANIFEST_LIMIT:
        raise HostError(f"{source} is no backup of Kronforce")
    content = tar.extractfile(first)
    if content is None:
        raise HostError(f"{source} is no backup of Kronforce")
    try:
        manifest = _parsed(source, content.read())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HostError(f"the manifest of {source} is damaged; use another backup") from error
    names = [part.name for part in manifest.parts]
    for name in names:
        if not _NAME.match(name) or name == MANIFEST or names.count(name) > 1:
            raise HostError(f"{source} names a part {name!r}: it is damaged; use another backup")
    return manifest


def _parsed(source: Path, text: bytes) -> Manifest:
    plain = json.loads(text)
    if plain["format"] != FORMAT:
        raise HostError(
            f"{source} was made by version {plain['version']} in a form that this version does"
            " not read; restore it with that version"
        )
    parts = tuple(Part(**part) for part in plain.pop("parts"))
    if not all(isinstance(p.name, str) and isinstance(p.size, int) for p in parts):
        raise ValueError("a part without name or size")
    return Manifest(parts=parts, **plain)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
