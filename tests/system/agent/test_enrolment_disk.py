"""Failure 13 for an agent's first start: a full disk is told by name, and costs no join token."""

from pathlib import Path

import pytest

from tests.system.failures.jobs import ended, fire, outcome
from tests.system.rig import processes
from tests.system.rig.cluster import Cluster, cluster, until
from tests.system.rig.small_disk import MIB, mounted

DISK_BYTES = 4 * MIB
PAGE = 4_096


async def begun(made: Cluster, folder: Path, token: str) -> processes.Process:
    """An agent whose folder is there, whether it gets on or not."""
    return await processes.start(
        "agent small",
        ["agent", "run", "--address", made.address, "--data-dir", str(folder), "--name", "small"],
        made.environment() | {"KRONFORCE_JOIN_TOKEN": token},
        made.folder / "agent-small.log",
    )


# Without any room its launcher does not start; with a page for its journal it is enrolled, and
# finds none for its credential.
@pytest.mark.parametrize("free", [0, PAGE])
async def test_an_agent_that_enrols_on_a_full_disk_does_with_the_same_token_once_there_is_room(
    tmp_path: Path, free: int
) -> None:
    async with cluster(tmp_path, "") as made:
        with mounted(tmp_path / "agents", DISK_BYTES) as disk:
            await made.start_controller()
            token = (await made.client.agents.create_join_token(uses=1)).token
            disk.fill_to(free)
            if not free:
                disk.fill()
            refused = await begun(made, disk.folder, token)
            await until(lambda: ends(refused), "the agent to say that it has no room")
            assert "the disk of" in refused.tail()
            assert "same join token" in refused.tail()
            assert "Traceback" not in refused.tail()
            disk.empty()

            made.agents["small"] = await begun(made, disk.folder, token)

            await made.until_online("small")
            run = await ended(made, await fire(made, "works", "true"))
            assert outcome(run) == ("succeeded", "")
            await made.close()


async def ends(process: processes.Process) -> bool:
    return not process.running
