import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from tests.fakes.controller import FakeController, noop
from tests.system.agent.conftest import StartAgent


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 512 KiB where this agent keeps its state."""
    folder = tmp_path / "agent-tester"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_on_a_full_disk_results_wait_new_work_is_refused_and_nothing_is_lost(
    controller: FakeController,
    start_agent: StartAgent,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kronforce_agent.segments.RETRY_SECS", 0.05)
    async with start_agent("--task-types", "noop", "--slots", "512"):
        session = await controller.session()
        (running,) = session.assign(noop(sleep_ms=500, message="x" * 4000))
        await session.expect("accepted", running)
        ballast = small_disk / "ballast"
        fill(ballast)
        keys = session.assign(*[noop(message="x" * 4000)] * 100)
        drain = await session.expect("drain")
        (refused,) = session.assign(noop())
        rejected = await session.expect("rejected", refused)
        assert not session.of("result")
        ballast.unlink()
        results = [await session.expect("result", key) for key in [running, *keys]]
        again = await session.expect("drain", nth=2)
    assert drain.draining
    assert "journal" in drain.reason
    assert rejected.reason == pb.REJECT_REASON_BUSY
    assert {result.state for result in results} == {ex.EXECUTION_STATE_SUCCEEDED}
    assert not again.draining


def fill(path: Path) -> None:
    """Take what room there is, to the last page."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return
