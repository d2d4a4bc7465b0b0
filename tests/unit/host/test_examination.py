"""All checks together."""

import errno

from kronforce.host import (
    checks_folder,
    examination,
)
from kronforce.host.findings import Verdict
from tests.unit.host.machine import around


def test_a_check_that_fails_hides_no_other(folder, proc):
    def fails(_):
        raise OSError(errno.EIO, "Input/output error")

    checks = (("broken", fails), ("folder", checks_folder.data_folder))
    first, second = examination.examine(around(folder, proc), checks)
    assert (first.check, first.verdict) == ("broken", Verdict.WARNING)
    assert "Input/output error" in first.message
    assert second.verdict == Verdict.FINE


def test_what_this_user_may_not_look_at_is_said_once(folder, proc):
    def forbidden(_):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    checks = (("keys", forbidden), ("folder", checks_folder.data_folder), ("files", forbidden))
    first, last = examination.examine(around(folder, proc), checks)
    assert (first.check, last.verdict) == ("data folder", Verdict.WARNING)
    assert "keys, files" in last.message


def test_a_host_that_is_well_has_nothing_wrong_and_nothing_is_left_behind(folder, proc, database):
    before = sorted(path.name for path in folder.iterdir())
    where = around(folder, proc, grpc_bind="127.0.0.1:0")
    wrong = [each for each in examination.examine(where) if each.verdict == Verdict.WRONG]
    assert wrong == []
    assert sorted(path.name for path in folder.iterdir()) == before
