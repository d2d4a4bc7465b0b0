"""A database that is not whole: no controller serves what is left of it, a backup puts it right."""

from tests.system.rig.cluster import Cluster
from tests.system.rig.restoring import backup, command, restore


async def test_a_damaged_database_is_told_at_start_and_a_backup_puts_it_right(
    embedded: Cluster,
) -> None:
    await embedded.client.jobs.create({"name": "kept", "task": {"type": "noop"}})
    source = await backup(embedded)
    assert embedded.controller is not None
    await embedded.controller.stop()
    file = embedded.data_dir / "kronforce.db"
    with file.open("r+b") as database:
        database.write(b"not a database")

    started = await command(embedded, "controller", "--grpc-bind", "127.0.0.1:0", "--bind", "off")

    assert started.code == 1
    assert str(file) in started.text
    assert "kronforce restore FILE --force" in started.text
    assert "Traceback" not in started.text
    await restore(embedded, source, "--force")
    await embedded.start_controller()
    assert [job.name async for job in embedded.client.jobs.list()] == ["kept"]
    await embedded.until_online()
