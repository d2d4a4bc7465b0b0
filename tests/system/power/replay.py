"""The disk as a power cut leaves it: what was synced, and as much else as the cut's mode says.

A log of `recorder.c` is read once, up to one moment. A file's writes are certain once an fsync that
began after them has ended; its name is certain once its folder was synced after it got it. `STRICT`
keeps only what is certain. `TORN` keeps, by a seeded chance, any part of the rest as well: writes
in any order and by sectors, names in the order in which they were given, which is what file systems
do. A promise must hold in both.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_HEAD = struct.Struct("<IBQQHH")
SECTOR = 512
# What the replayed disk has no use for: SQLite makes it anew, sockets are none.
LEFT_OUT = ("-shm",)


class Kind(Enum):
    """What the recorder noted, under its numbers."""

    CREATE = 1
    WRITE = 2
    CUT = 3
    SYNC_BEGUN = 4
    SYNCED = 5
    RENAME = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9
    LINK = 10
    SYNC_FOLDER = 11


class Mode(Enum):
    """What survives beside what is certain."""

    STRICT = "strict"
    TORN = "torn"


@dataclass(frozen=True, kw_only=True)
class Note:
    """One record; `end` is how long the log was with it."""

    end: int
    kind: Kind
    a: int
    b: int
    one: str
    two: str
    data: bytes


def notes(log: bytes) -> Iterator[Note]:
    """Every record, in order."""
    at = 0
    while at + _HEAD.size <= len(log):
        total, kind, a, b, first, second = _HEAD.unpack_from(log, at)
        name_at = at + _HEAD.size
        data_at = name_at + first + second
        yield Note(
            end=at + total,
            kind=Kind(kind),
            a=a,
            b=b,
            one=log[name_at : name_at + first].decode(),
            two=log[name_at + first : data_at].decode(),
            data=log[data_at : at + total],
        )
        at += total


@dataclass(eq=False)
class _File:
    """One inode: certain bytes, and what was done since that is not."""

    certain: bytearray = field(default_factory=bytearray)
    # (offset, bytes), or (size, None) for a cut.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    # By thread: how much of `pending` its fsync covers.
    syncing: dict[int, int] = field(default_factory=dict)

    def synced(self, thread: int) -> None:
        covered = self.syncing.pop(thread)
        for offset, data in self.pending[:covered]:
            _apply(self.certain, offset, data)
        del self.pending[:covered]
        self.syncing = {each: max(0, some - covered) for each, some in self.syncing.items()}

    def after_cut(self, mode: Mode, chance: random.Random) -> bytes:
        content = bytearray(self.certain)
        if mode is Mode.TORN:
            for offset, data in self.pending:
                _apply_in_part(content, offset, data, chance)
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset if data is None else offset + len(data)
    if data is None:
        del content[end:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is not None:
        content[offset:end] = data


def _apply_in_part(
    content: bytearray, offset: int, data: bytes | None, chance: random.Random
) -> None:
    fate = chance.random()
    if data is None or fate < 0.4:
        if fate < 0.7:
            _apply(content, offset, data)
        return
    if fate < 0.6:
        return
    for at in range(0, len(data), SECTOR):
        if chance.random() < 0.5:
            _apply(content, offset + at, data[at : at + SECTOR])


# A folder, where a path leads to no file.
_FOLDER = None
_Names = dict[str, "_File | None"]


@dataclass(kw_only=True)
class _Change:
    """Names that were given or taken by one call; certain with their folder."""

    folder: str
    given: _Names = field(default_factory=dict)
    taken: tuple[str, ...] = ()

    def apply(self, names: _Names) -> None:
        for path in self.taken:
            names.pop(path, None)
        names.update(self.given)


class Disk:
    """Feed it notes in order; `leave` writes what a cut now would leave."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._inodes: dict[int, _File] = {}
        self._live: _Names = {self._root: _FOLDER}
        self._certain: _Names = {self._root: _FOLDER}
        self._changes: deque[_Change] = deque()

    def take(self, note: Note) -> None:
        """The next record."""
        if note.kind in _ON_NAMES:
            self._change(note)
        elif note.kind is Kind.SYNC_FOLDER:
            self._folder_synced(note.one)
        elif (file := self._inodes.get(note.a)) is not None:
            _on_file(file, note)

    def _change(self, note: Note) -> None:
        change = _Change(folder=_parent(note.one))
        if note.kind is Kind.CREATE:
            file = self._inodes[note.a] = _File()
            change.given[note.one] = file
        elif note.kind is Kind.MKDIR:
            change.given[note.one] = _FOLDER
        elif note.kind in {Kind.UNLINK, Kind.RMDIR}:
            change.taken = (note.one,)
        elif note.one in self._live:
            change.given[note.two] = self._live[note.one]
            change.taken = (note.one,) if note.kind is Kind.RENAME else ()
        change.apply(self._live)
        self._changes.append(change)

    def _folder_synced(self, folder: str) -> None:
        rest: deque[_Change] = deque()
        for change in self._changes:
            if change.folder == folder:
                change.apply(self._certain)
            else:
                rest.append(change)
        self._changes = rest

    def leave(self, target: Path, mode: Mode, seed: int) -> None:
        """Write the disk after a cut below `target`, which is not there yet."""
        chance = random.Random(seed)
        names = dict(self._certain)
        if mode is Mode.TORN:
            for change in list(self._changes)[: chance.randint(0, len(self._changes))]:
                change.apply(names)
        target.mkdir(parents=True)
        for path in sorted(names):
            if path != self._root and _parent(path) in names and not path.endswith(LEFT_OUT):
                _put(target / path[len(self._root) + 1 :], names[path], mode, chance)


_ON_NAMES = frozenset({Kind.CREATE, Kind.MKDIR, Kind.UNLINK, Kind.RMDIR, Kind.RENAME, Kind.LINK})


def _on_file(file: _File, note: Note) -> None:
    if note.kind is Kind.WRITE:
        file.pending.append((note.b, note.data))
    elif note.kind is Kind.CUT:
        file.pending.append((note.b, None))
    elif note.kind is Kind.SYNC_BEGUN:
        file.syncing[note.b] = len(file.pending)
    else:
        file.synced(note.b)


def _put(path: Path, file: _File | None, mode: Mode, chance: random.Random) -> None:
    # A name whose folder did not survive is nowhere.
    if not path.parent.is_dir():
        return
    if file is _FOLDER:
        path.mkdir(mode=0o700)
        return
    path.write_bytes(file.after_cut(mode, chance))
    path.chmod(0o600)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
