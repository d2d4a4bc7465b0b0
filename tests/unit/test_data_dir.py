"""The data folder: private, local, one controller at a time, and known to this host's command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kronforce import data_dir
from kronforce.config import CannotStart


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "kronforce"
    data_dir.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_one_that_others_could_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    data_dir.prepare(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_place_that_cannot_be_a_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="--data-dir"):
        data_dir.prepare(tmp_path / "file" / "kronforce")


def test_a_network_file_system_is_told_by_the_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    shared = tmp_path / "with space"
    shared.mkdir()
    mounts.write_text(
        "/dev/root / ext4 rw 0 0\n"
        f"server:/x {str(shared).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n"
    )
    assert data_dir.file_system(shared / "data", mounts) == "nfs4"
    assert data_dir.file_system(tmp_path, mounts) == "ext4"
    assert "nfs4" in data_dir.NETWORK
    assert data_dir.file_system(tmp_path, tmp_path / "absent") == ""


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        data_dir.held(tmp_path),
        pytest.raises(CannotStart, match=f"process {os.getpid()} is the controller"),
        data_dir.held(tmp_path),
    ):
        pass
    with data_dir.held(tmp_path):
        pass


def test_a_second_folder_is_refused_the_same_database_file(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tmp_path)
    with (
        data_dir.database_held(tmp_path / "kronforce.db"),
        pytest.raises(CannotStart, match=r"controller of .*kronforce\.db: .*--db"),
        data_dir.database_held(tmp_path / "other" / "kronforce.db"),
    ):
        pass
    with data_dir.database_held(tmp_path / "kronforce.db"):
        pass


def test_a_database_in_a_folder_that_is_not_there_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    with (
        pytest.raises(CannotStart, match="--db"),
        data_dir.database_held(tmp_path / "none" / "kronforce.db"),
    ):
        pass


def test_the_endpoint_is_there_while_the_controller_is(tmp_path: Path) -> None:
    with data_dir.endpoint(tmp_path, address="127.0.0.1:5", tls=True, ca_file="/ca.pem"):
        path = tmp_path / "endpoint.json"
        assert json.loads(path.read_text()) == {
            "address": "127.0.0.1:5",
            "tls": True,
            "ca_file": "/ca.pem",
            "pid": os.getpid(),
        }
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_the_endpoint_tells_where_metrics_are_if_they_are_served(tmp_path: Path) -> None:
    with data_dir.endpoint(tmp_path, address="a:5", tls=False, ca_file="", metrics="127.0.0.1:9"):
        content = json.loads((tmp_path / "endpoint.json").read_text())

    assert content["metrics"] == "127.0.0.1:9"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    data_dir.write_private(path, "one")
    data_dir.write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
