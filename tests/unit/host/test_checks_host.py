"""The machine under a controller: versions, open files, clock, cgroup."""

import json

import pytest

from kronforce import __version__
from kronforce.host import checks_host
from kronforce.host.findings import Verdict
from kronforce.host.kernel_clock import KernelClock, read
from tests.unit.host.machine import around, controller_of, only


def test_versions_are_told_and_fit_each_other(folder, proc):
    verdict, message = only(checks_host.versions, around(folder, proc))
    assert (verdict, f"kronforce {__version__}" in message) == (Verdict.FINE, True)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("65536", Verdict.FINE),
        ("1024", Verdict.FINE),
        ("512", Verdict.WARNING),
        ("64", Verdict.WRONG),
        ("unlimited", Verdict.FINE),
    ],
)
def test_few_open_files_are_few_agents(folder, proc, limit, verdict):
    (proc / "self" / "limits").write_text(f"Max open files    {limit}    65536   files\n")
    assert only(checks_host.open_files, around(folder, proc))[0] == verdict


def test_the_limit_is_the_running_controllers_where_one_runs(folder, proc):
    controller_of(folder, proc, pid=42)
    (proc / "42" / "limits").write_text("Max open files    100   100   files\n")
    verdict, message = only(checks_host.open_files, around(folder, proc))
    assert (verdict, message.startswith("the controller may")) == (Verdict.WRONG, True)


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (KernelClock(in_step=True, error_us=12_000), Verdict.FINE),
        (KernelClock(in_step=True, error_us=3_000_000), Verdict.WARNING),
        (KernelClock(in_step=False, error_us=0), Verdict.WARNING),
        (None, Verdict.WARNING),
    ],
)
def test_a_clock_that_nothing_sets_is_told(folder, proc, known, verdict):
    where = around(folder, proc, kernel_clock=lambda: known)
    assert only(checks_host.clock, where)[0] == verdict


def test_the_kernel_of_this_machine_can_be_asked_or_not_without_harm():
    known = read()
    assert known is None or known.error_us >= 0


def test_a_host_without_a_cgroup_of_its_own_is_warned(folder, proc):
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == Verdict.WARNING


def test_a_folder_that_is_no_cgroup_is_none_and_is_left_as_it_was(folder, proc, tmp_path):
    root = tmp_path / "cgroup"
    root.mkdir()
    (proc / "self" / "mountinfo").write_text(f"30 22 0:26 / {root} rw - cgroup2 cgroup2 rw\n")
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == Verdict.WARNING
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("cgroup", "verdict"), [("/sys/fs/cgroup/x", Verdict.FINE), ("", Verdict.WARNING)]
)
def test_a_living_launcher_says_whether_it_has_one(folder, proc, cgroup, verdict):
    launchers = folder / "agent-local" / "launchers"
    launchers.mkdir(parents=True)
    record = {"pid": 77, "start_ticks": 1, "kernel_boot": "", "cgroup": cgroup}
    (launchers / "a.starts").write_text(json.dumps(record) + "\n")
    (launchers / "dead.starts").write_text(json.dumps({**record, "pid": 78, "cgroup": ""}) + "\n")
    (launchers / "torn.starts").write_text('{"pid"')
    (proc / "77").mkdir()
    assert only(checks_host.task_cgroup, around(folder, proc))[0] == verdict
