"""What a restore means for agents that know more than the store: adopted, ended, or told again."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from kronforce.core import ids
from kronforce.store.database import open_database
from kronforce.store.tables import evidence
from tests.system.checker.history import TERMINAL, Effect
from tests.system.failures.jobs import ended, fire, outcome, wrote
from tests.system.failures.test_kills import runs
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.recording import word
from tests.system.rig.restoring import Said, backup, restore
from tests.system.rig.tasks import Notes, printing

# Prints for longer than a backup, a kill and a start take on a busy machine.
SIZE, PARTS, PAUSE_SECS = 100_000, 50, 0.3


class Gate:
    """What a task waits at until the test opens it."""

    def __init__(self, notes: Notes) -> None:
        self._path = notes.path.with_name("gate")
        self.wait = f"until [ -e {self._path} ]; do sleep 0.1; done"

    def open(self) -> None:
        self._path.touch()


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


async def begin_again(cluster: Cluster, source: Path) -> Said:
    """Kill the controller, restore, start."""
    assert cluster.controller is not None
    await cluster.controller.kill()
    said = await restore(cluster, source, "--force")
    await cluster.start_controller()
    # The client's connection needs a moment to find it again.
    await cluster.until_online()
    return said


async def test_what_ran_at_the_backup_and_still_runs_is_adopted(embedded: Cluster) -> None:
    run_id = await fire(embedded, "long", printing(SIZE, parts=PARTS, pause_secs=PAUSE_SECS))
    execution = await wrote(embedded, run_id, SIZE // PARTS)
    source = await backup(embedded)
    # Stored, acknowledged and forgotten: of this the agent has nothing any more.
    await wrote(embedded, run_id, execution.stdout_bytes + SIZE // PARTS * 2)

    await begin_again(embedded, source)

    run = await ended(embedded, run_id)
    assert outcome(run) == ("succeeded", "")
    (after,) = run.executions
    assert (after.fence, after.stdout_bytes) == (execution.fence, SIZE)


async def test_what_ran_at_the_backup_and_was_reported_since_is_lost_to_the_store(
    embedded: Cluster, notes: Notes
) -> None:
    gate = Gate(notes)
    run_id = await fire(embedded, "short", notes.command(gate.wait))
    await started(notes, 1)
    source = await backup(embedded)
    gate.open()
    assert outcome(await ended(embedded, run_id)) == ("succeeded", "")

    await begin_again(embedded, source)

    # It may have done its work: `at_most_once` leaves that to a person.
    assert outcome(await ended(embedded, run_id))[0] == "lost"
    assert [effect.what for effect in notes.effects()] == ["start", "end"]


async def test_what_was_begun_after_the_backup_ends_with_its_history(
    embedded: Cluster, notes: Notes
) -> None:
    await fire(embedded, "kept", "true")
    source = await backup(embedded)
    await fire(embedded, "forgotten", f"echo $$ > {notes.path}.pid; " + notes.command("sleep 3600"))
    await started(notes, 1)
    pid = pid_in(notes)

    await begin_again(embedded, source)

    await until(lambda: gone(pid), "the task of a forgotten run to be ended")
    jobs = [job.name async for job in embedded.client.jobs.list()]
    assert jobs == ["kept"]


async def test_what_waited_at_the_backup_runs_again_and_the_old_report_is_evidence(
    embedded: Cluster, notes: Notes
) -> None:
    await embedded.agents["one"].stop()
    gate = Gate(notes)
    run_id = await fire(embedded, "waiting", notes.command(gate.wait))
    source = await backup(embedded)
    await embedded.start_agent()
    await started(notes, 1)
    assert embedded.controller is not None
    await embedded.controller.kill()
    gate.open()
    await done(notes, 1)

    said = await begin_again(embedded, source)
    run = await ended(embedded, run_id)

    assert outcome(run) == ("succeeded", "")
    (execution,) = run.executions
    assert execution.fence > said.fence
    first = notes.effects()[0].fence
    assert [(each.fence, each.what) for each in notes.effects()] == [
        (first, "start"), (first, "end"), (execution.fence, "start"), (execution.fence, "end"),
    ]  # fmt: skip
    assert first < said.fence
    assert evidence_of(embedded, execution.id) == [first]


async def test_followers_from_the_forgotten_time_go_on_with_what_comes_now(
    running: Cluster, notes: Notes
) -> None:
    gate = Gate(notes)
    run_id = await fire(running, "long", notes.command(gate.wait))
    await started(notes, 1)
    job = await running.client.jobs.get("long")
    source = await backup(running)
    # Of this time both know more than the restored store does.
    for name in ("one", "two", "three"):
        await fire(running, name, "true")
    changed = await running.client.jobs.pause("long")
    page = await running.client.events.page(page_size=1)
    states: list[str] = []
    watching = asyncio.ensure_future(watch(running, run_id, states))
    await until(lambda: is_there(states), "the watch to have begun")

    await begin_again(running, source)

    gate.open()
    kinds = []
    async with running.client.events.watch(cursor=page.events[0].cursor) as events:
        async for event in events:
            kinds.append(event.kind)
            if event.run_id == run_id and event.kind == "execution.completed":
                break
    assert kinds[0] == "store.restored"
    assert "job.created" not in kinds
    # The watch went on through it, although revisions of the run had been shown already.
    await asyncio.wait_for(watching, 60)
    assert states[-1] == "succeeded"
    now = await running.client.jobs.get("long")
    assert now.etag not in (job.etag, changed.etag)


async def is_there(found: list[str]) -> bool:
    return bool(found)


async def watch(cluster: Cluster, run_id: str, found: list[str]) -> None:
    async with cluster.client.runs.watch(runs=[run_id]) as updates:
        async for update in updates:
            if update.WhichOneof("update") == "state":
                found.append(word(update.state.state))
                if found[-1] in TERMINAL:
                    return


def pid_in(notes: Notes) -> int:
    return int(Path(f"{notes.path}.pid").read_text())


async def gone(pid: int) -> bool:
    return not runs(pid)


async def started(notes: Notes, count: int) -> None:
    await until(lambda: noted(notes, "start", count), "a task to start")


async def done(notes: Notes, count: int) -> None:
    await until(lambda: noted(notes, "end", count), "a task to end")


async def noted(notes: Notes, what: str, count: int) -> bool:
    found: tuple[Effect, ...] = notes.effects()
    return sum(each.what == what for each in found) >= count


def evidence_of(cluster: Cluster, execution_id: str) -> list[int]:
    """Fences of the reports that were kept as evidence."""
    database = open_database(cluster.db)
    try:
        with database.main.connect() as connection:
            wanted = evidence.c.execution_id == ids.from_text(execution_id)
            return list(connection.scalars(sa.select(evidence.c.fence).where(wanted)))
    finally:
        database.close()
