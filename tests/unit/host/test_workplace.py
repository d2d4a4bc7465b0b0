"""Folders to work in: private, gone afterwards, and swept when a kill has left one."""

import pytest

from kronforce.host.opening import HostError
from kronforce.host.workplace import workplace


def test_it_is_private_and_gone_at_the_end_whatever_happens(tmp_path):
    def fail() -> None:
        with workplace(tmp_path, ".w-") as made:
            (made / "large").touch()
            assert made.stat().st_mode & 0o777 == 0o700
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    left = tmp_path / ".w-left"
    left.mkdir()
    (left / ".lock").touch()
    other = tmp_path / ".x-other"
    other.mkdir()
    (other / ".lock").touch()

    with workplace(tmp_path, ".w-") as first, workplace(tmp_path, ".w-") as second:
        assert first != second
        assert sorted(tmp_path.iterdir()) == sorted([first, second, other])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(HostError, match="nowhere"), workplace(tmp_path / "nowhere", ".w-"):
        pass
