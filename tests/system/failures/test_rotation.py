"""SIGKILL in the middle of a rotation of the secrets' key; and where a secret is found after all.

Runs go on meanwhile, and each gets its secret, whichever key it is stored under just then.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import pytest

from kronforce_client import ClientError
from tests.system.failures.jobs import ended, outcome
from tests.system.rig.cluster import Cluster, cluster, patient, until

SECRET = "a secret that must stay one"
SECRETS = 120

POINTS = ("engine.rotation.key_made:1:kill", "engine.rotation.batch_written:1:kill")


def is_(name: str, number: int) -> str:
    expected = hashlib.sha256(f"{SECRET} {number}".encode()).hexdigest()
    return f'test "$(printf %s {{{{{name}}}}} | sha256sum)" = "{expected}  -"'


async def make_secrets(made: Cluster) -> None:
    for number in range(SECRETS):
        await made.client.variables.create(f"S{number}", f"{SECRET} {number}", secret=True)
    await made.client.jobs.create(
        {
            "name": "check",
            "task": {
                "type": "shell",
                # By their hashes: the command itself must not hold what is looked for.
                "command": f"{is_('S0', 0)} && {is_('S119', 119)} && echo {{{{S7}}}}"
                " && exec cat {{params.file}}",
            },
            "target": {"type": "any"},
        }
    )


async def check(made: Cluster) -> None:
    """A run that compares and prints its secrets, on standard output and through a file."""
    path = made.folder / "printed"
    path.write_text(f"{SECRET} 7 again\n")
    reply = await made.client.jobs.trigger("check", params={"file": str(path)})
    run = await ended(made, reply.run.id)
    assert outcome(run) == ("succeeded", "")


@pytest.mark.parametrize("point", POINTS)
async def test_a_rotation_that_is_killed_goes_on_at_the_next_start(made: Cluster, point) -> None:
    controller = await made.start_controller()
    await made.start_agent()
    await make_secrets(made)
    await controller.stop()
    controller = await made.start_controller(failpoint=point)

    with contextlib.suppress(ClientError):
        await made.client.system.rotate_secret_key()
    await controller.ended
    await made.start_controller()
    await made.until_online()

    async def finished() -> bool:
        log = (made.folder / "controller.log").read_text()
        return '"rotation_finished"' in log

    await until(patient(finished), "the rotation to be finished")
    await check(made)
    # And another one, whole: everything is under a key that is known.
    assert (await made.client.system.rotate_secret_key()).rewritten == SECRETS
    await check(made)


async def test_a_secret_is_in_no_file_of_controller_agent_or_launcher(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as made:
        await made.start_controller()
        await made.start_agent()
        await make_secrets(made)
        await check(made)
        await made.client.system.rotate_secret_key()
        reply = await made.client.variables.page(page_size=1_000)
        assert SECRET not in json.dumps([str(each) for each in reply.variables])
        assert made.complaints() == []
        look_into_every_file(tmp_path)


def look_into_every_file(folder: Path) -> None:
    (folder / "printed").unlink()
    files = [path for path in folder.rglob("*") if path.is_file()]
    # Databases and their logs, the agent's journal, spools, what every process said.
    assert {"kronforce.db", "kronforce.db-wal", "controller.log"} <= {f.name for f in files}
    assert any("journal" in str(path) for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
