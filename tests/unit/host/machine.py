"""A machine as a check sees it, made of files of a test's own."""

import json
from datetime import UTC, datetime
from pathlib import Path

from kronforce import data_dir
from kronforce.clock import ManualClock
from kronforce.config import Config
from kronforce.host.findings import Surroundings, Verdict
from kronforce.host.kernel_clock import KernelClock

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def around(folder: Path, proc: Path, **given) -> Surroundings:
    known = {"kernel_clock": lambda: KernelClock(in_step=True, error_us=4_000)}
    here = {name: given.pop(name) for name in list(given) if name in Surroundings.__slots__}
    config = Config(data_dir=folder, db=given.pop("db", str(folder / "kronforce.db")), **given)
    here = {"clock": ManualClock(NOW), **known, **here}
    return Surroundings(config=config, proc=proc, **here)


def found(check, where) -> list[tuple[Verdict, str]]:
    findings = list(check(where))
    assert all(bool(each.way_out) == (each.verdict != Verdict.FINE) for each in findings)
    return [(each.verdict, each.message) for each in findings]


def only(check, where) -> tuple[Verdict, str]:
    ((verdict, message),) = found(check, where)
    return verdict, message


def controller_of(folder: Path, proc: Path, *, pid: int, address: str = "") -> None:
    """A process that holds the folder, as `proc` shows it."""
    (folder / data_dir.LOCK).write_text(f"{pid}\n")
    descriptors = proc / str(pid) / "fd"
    descriptors.mkdir(parents=True)
    (descriptors / "3").symlink_to(folder / data_dir.LOCK)
    if address:
        (folder / data_dir.ENDPOINT).write_text(json.dumps({"address": address, "pid": pid}))
