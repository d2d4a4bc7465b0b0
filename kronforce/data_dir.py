"""The data folder: made private, on a local disk, held by one controller at a time.

`endpoint.json` in it tells the command on this host where the controller
listens; it is there while the controller runs.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kronforce.config import CannotStart

# File systems where a lock or an fsync may mean less than it says.
NETWORK = {
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}

MOUNTS = Path("/proc/self/mounts")
LOCK = "controller.lock"
ENDPOINT = "endpoint.json"

# There while `kronforce restore` replaces files: what lies here is half of two histories.
RESTORING = "restore.unfinished"


class FolderInUse(CannotStart):
    """Another process is the controller of it; `holder` says which."""

    def __init__(self, what: Path, pid: str, flag: str) -> None:
        self.holder = (
            f"{f'process {pid}' if pid else 'another process'} is the controller of {what}"
        )
        super().__init__(
            f"{self.holder}: use that one (kronforce status), stop it"
            f"{f' (kill {pid})' if pid else ''}, or choose another one with {flag}"
        )


def prepare(folder: Path, *, unfinished: bool = False) -> None:
    """Make the folder, 0700. Raises CannotStart where it cannot be used.

    With `unfinished` one that a restore has left half done is taken too.
    """
    way_out = "choose another folder with --data-dir or KRONFORCE_DATA_DIR"
    try:
        _make(folder)
    except OSError as error:
        raise CannotStart(
            f"cannot use the data folder {folder}: {error.strerror}; {way_out}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotStart(f"cannot write to the data folder {folder}; {way_out}")
    if (kind := file_system(folder)) in NETWORK:
        raise CannotStart(
            f"the data folder {folder} is on a network file system ({kind}), where neither locks"
            f" nor fsync can be trusted; {way_out}"
        )
    if not unfinished and (folder / RESTORING).exists():
        raise CannotStart(
            f"a restore into the data folder {folder} was not finished: repeat it with"
            " kronforce restore FILE --force"
        )


def _make(folder: Path) -> None:
    """Its name is durable, and so are those of all folders above it that had to be made."""
    missing = [each for each in folder.parents if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for made in (folder, *missing):
        if made == folder or os.access(made.parent, os.R_OK):
            sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in it durable: a file's fsync does not."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds the folder; empty if nobody says."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    at = folder.resolve()
    best, kind = "", ""
    for line in lines:
        _, where, found, *_ = line.split(" ")
        # Mounts write a space as \040 and so on; the last mount on a place hides the others.
        where = where.encode().decode("unicode_escape")
        if at.is_relative_to(where) and len(where) >= len(best):
            best, kind = where, found
    return kind


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises CannotStart if another one has it."""
    with _locked(folder / LOCK, folder, "--data-dir"):
        yield


@contextmanager
def database_held(file: Path) -> Iterator[None]:
    """The same for a SQLite file, which several folders' controllers may be told to use."""
    file, way_out = file.resolve(), "choose another file with --db or KRONFORCE_DB"
    if (kind := file_system(file.parent)) in NETWORK:
        raise CannotStart(
            f"the database {file} is on a network file system ({kind}), where neither locks nor"
            f" fsync can be trusted; {way_out}"
        )
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise CannotStart(f"cannot write to the folder of the database {file}; {way_out}")
    with _locked(file.with_name(file.name + ".lock"), file, "--db"):
        yield


@contextmanager
def _locked(path: Path, what: Path, flag: str) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderInUse(what, _pid_in(handle), flag) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # The file stays: removing it would let two processes lock two files of one name.
        os.close(handle)


def _pid_in(handle: int) -> str:
    return os.pread(handle, 32, 0).decode(errors="replace").strip()


@contextmanager
def endpoint(
    folder: Path, *, address: str, tls: bool, ca_file: str, metrics: str = "", http: str = ""
) -> Iterator[None]:
    """Tell the command on this host where the controller listens, while it does."""
    path = folder / ENDPOINT
    content = {"address": address, "tls": tls, "ca_file": ca_file, "pid": os.getpid()}
    if metrics:
        content["metrics"] = metrics
    if http:
        content["http"] = http
    write_private(path, json.dumps(content) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file, whole or not at all, that only its owner can read; then it is durable."""
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
