"""A new admin key beside a controller that runs."""

from kronforce_client import AsyncClient, Unauthenticated
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.restoring import command


async def test_a_running_controller_takes_the_new_key_and_ends_the_others(
    made: Cluster,
) -> None:
    await made.start_controller()

    said = await command(made, "key", "reset-admin", "--revoke-others")

    assert said.code == 0, said.text
    async with AsyncClient(made.address, key_in_folder(made)) as client:
        await until(patient(lambda: whoami(client)), "the new key to be taken", 10)
        checked = await client.audit.verify()
        operations = [entry.operation async for entry in client.audit.list(actor="host")]
    assert list(checked.faults) == []
    assert operations == ["key.revoked", "key.created"]
    await until(lambda: is_refused(made.client), "the old key to be refused", 10)


def key_in_folder(cluster: Cluster) -> str:
    return (cluster.data_dir / "admin.key").read_text().strip()


async def is_refused(client: AsyncClient) -> bool:
    try:
        await whoami(client)
    except Unauthenticated:
        return True
    return False


async def whoami(client: AsyncClient) -> str:
    return (await client.keys.whoami()).key.name
