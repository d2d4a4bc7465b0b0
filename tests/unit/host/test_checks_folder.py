"""Where the data lies, as it should be and as it should not."""

import errno
import os
from typing import NamedTuple

import pytest

from kronforce import data_dir
from kronforce.clock import ManualClock
from kronforce.host import (
    checks_folder,
)
from kronforce.host.findings import Verdict
from tests.unit.host.machine import NOW, around, found, only


class Statvfs(NamedTuple):
    f_bavail: int
    f_frsize: int
    f_files: int
    f_favail: int


def test_a_private_folder_is_fine_and_one_that_others_may_enter_is_not(folder, proc):
    assert only(checks_folder.data_folder, around(folder, proc))[0] == Verdict.FINE
    folder.chmod(0o755)
    verdict, message = only(checks_folder.data_folder, around(folder, proc))
    assert (verdict, "0755" in message) == (Verdict.WARNING, True)


def test_a_folder_that_is_not_there_yet_is_a_warning(folder, proc):
    where = around(folder / "later" / "still", proc)
    assert only(checks_folder.data_folder, where)[0] == Verdict.WARNING
    assert found(checks_folder.key_files, where) == []
    assert found(checks_folder.fsync_time, where) == []
    assert only(checks_folder.disk, where)[0] == Verdict.FINE


def test_a_restore_that_was_not_finished_is_wrong(folder, proc):
    (folder / data_dir.RESTORING).touch()
    assert only(checks_folder.data_folder, around(folder, proc))[0] == Verdict.WRONG


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("ext4", Verdict.FINE),
        ("nfs4", Verdict.WRONG),
        ("tmpfs", Verdict.WARNING),
        ("overlay", Verdict.WARNING),
    ],
)
def test_a_file_system_is_judged_by_what_it_keeps(folder, proc, kind, verdict):
    (proc / "self" / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\nx {folder} {kind} rw 0 0\n")
    assert only(checks_folder.file_system, around(folder, proc))[0] == verdict


def test_a_database_in_another_folder_is_looked_at_there_too(folder, proc, tmp_path):
    (proc / "self" / "mounts").write_text(f"/ / ext4 rw 0 0\nx {tmp_path}/far nfs rw 0 0\n")
    (tmp_path / "far").mkdir()
    where = around(folder, proc, db=str(tmp_path / "far" / "k.db"))
    verdicts = [verdict for verdict, _ in found(checks_folder.file_system, where)]
    assert verdicts == [Verdict.FINE, Verdict.WRONG]


@pytest.mark.parametrize(
    ("free_mib", "inodes", "verdict"),
    [
        (100_000, 1_000, Verdict.FINE),
        (400, 1_000, Verdict.WARNING),
        (255, 1_000, Verdict.WRONG),
        (100_000, 3, Verdict.WARNING),
    ],
)
def test_free_disk_is_held_against_the_reserve(folder, proc, free_mib, inodes, verdict):
    def statvfs(_):
        return Statvfs(f_bavail=free_mib, f_frsize=1 << 20, f_files=1_000, f_favail=inodes)

    assert only(checks_folder.disk, around(folder, proc, statvfs=statvfs))[0] == verdict


@pytest.mark.parametrize(
    ("secs", "verdict", "calls"),
    [(0.001, Verdict.FINE, 16), (0.05, Verdict.WARNING, 16), (0.5, Verdict.WRONG, 4)],
)
def test_a_disk_that_takes_its_time_is_told_and_not_asked_for_long(
    folder, proc, secs, verdict, calls
):
    clock, made = ManualClock(NOW), []

    def fsync(handle):
        made.append(handle)
        clock.advance(secs)

    where = around(folder, proc, fsync=fsync, clock=clock)
    assert only(checks_folder.fsync_time, where)[0] == verdict
    assert (len(made), list(folder.iterdir())) == (calls, [])


def test_key_files_are_their_owners_alone(folder, proc):
    assert only(checks_folder.key_files, around(folder, proc)) == (Verdict.FINE, "none yet")
    (folder / "agent-local").mkdir()
    for name in ("admin.key", "secrets.key", "agent-local/credential"):
        (folder / name).touch(mode=0o600)
    verdict, message = only(checks_folder.key_files, around(folder, proc))
    assert (verdict, "admin.key, secrets.key, credential" in message) == (Verdict.FINE, True)

    (folder / "secrets.key").chmod(0o640)
    verdict, message = only(checks_folder.key_files, around(folder, proc))
    assert (verdict, "secrets.key has mode 0640" in message) == (Verdict.WRONG, True)


def test_a_key_that_lies_elsewhere_may_be_for_a_group_but_not_for_all(folder, proc, tmp_path):
    key = tmp_path / "tls.pem"
    key.touch(mode=0o640)
    where = around(folder, proc, tls_cert=key, tls_key=key)
    assert only(checks_folder.key_files, where)[0] == Verdict.FINE
    key.chmod(0o644)
    assert only(checks_folder.key_files, where)[0] == Verdict.WRONG


def test_a_disk_that_takes_no_writes_is_wrong(folder, proc):
    def fsync(_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    verdict, message = only(checks_folder.fsync_time, around(folder, proc, fsync=fsync))
    assert (verdict, "Read-only" in message) == (Verdict.WRONG, True)
