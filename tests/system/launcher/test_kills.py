"""SIGKILL of the launcher at each of its failpoints: whoever comes after it leaves no process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kronforce_agent import failpoints
from kronforce_agent.launcher import cleanup, loop, paths, spool
from tests.system.launcher.rig import WAIT_SECS, Rig, alive, until

ROOMS = (loop, spool)
"""Where the launcher's failpoints are; importing them registers these."""
NTH = {"launcher.before_spawn": 2, "launcher.after_spawn": 2}
"""Not the first attempt's, so that there is a tree to be left behind."""
LAUNCHERS = tuple(name for name in failpoints.registered() if name.startswith("launcher."))


@pytest.mark.parametrize("with_cgroup", [True, False], ids=["cgroup", "without cgroup"])
@pytest.mark.parametrize("point", LAUNCHERS)
async def test_a_launcher_killed_at_a_failpoint_leaves_no_process_to_the_next(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, point: str, with_cgroup: bool
) -> None:
    hits = tmp_path / "hits"
    monkeypatch.setenv(failpoints.FLAG, "1")
    monkeypatch.setenv(failpoints.LOG, str(hits))
    monkeypatch.setenv(failpoints.PLAN, f"{point}:{NTH.get(point, 1)}:kill")
    rig = await Rig(tmp_path / "data").start()
    where = paths.LauncherPaths(data_dir=rig.data_dir, boot_id=rig.client.boot_id)
    own_cgroup = "" if with_cgroup else deny_cgroup(where.starts)

    rig.client.offline(True)
    # Without credit output has to be spooled, however quick this side is.
    rig.auto_credit = False
    rig.spawn(f"(setsid sleep {token} &) ; exec >&- 2>&-; sleep {token}")
    await until(lambda: len(alive(f"sleep\0{token}")) == 2)
    rig.spawn(f"(setsid sleep {token} >/dev/null 2>&1 &) ; yes | head -c 4000000")
    await until(lambda: not paths.is_alive(where))
    await asyncio.wait_for(rig.client.wait_closed(), WAIT_SECS)
    await asyncio.to_thread(cleanup.kill_leftovers, rig.data_dir)

    assert alive(f"sleep\0{token}") == []
    assert point in hits.read_text()
    assert not list((rig.data_dir / "launchers").iterdir())
    assert not list(rig.data_dir.glob("spool/*"))
    if own_cgroup:
        Path(own_cgroup).rmdir()  # noqa: ASYNC240


def deny_cgroup(starts: Path) -> str:
    """Make the file say that this launcher had no cgroup. Returns the one that it has."""
    head, _, rest = starts.read_text().partition("\n")
    record = json.loads(head)
    starts.write_text(json.dumps({**record, "cgroup": ""}) + "\n" + rest)
    return str(record["cgroup"])
