"""What an engine says of itself: each run counted once, whatever became of it; on both stores."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kronforce.api.in_flight import InFlight
from kronforce.clock import ManualClock
from kronforce.engine.jobs import Jobs
from kronforce.engine.metrics import readings
from kronforce.engine.metrics.metrics import KEEP_SECS, Metrics
from kronforce.engine.metrics.readings import READ_SECS
from kronforce.errors import Unavailable
from kronforce.store.jobs import find_job
from kronforce.telemetry.calls import CallCounts
from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import TriggerJobRequest
from tests.store.only_on import ON_POSTGRESQL
from tests.store.rig import ADMIN, FakeAgent, ManualRig, Rig, Someone

FAILED, LOST = 5, 11


class Watched:
    """A rig with the metrics that a controller would serve of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.metrics = Metrics(
            engine=rig.engine,
            store=rig.store,
            clock=rig.clock,
            calls=CallCounts(),
            under_way=InFlight(rig.clock),
            version="1",
        )

    async def read(self) -> dict[str, float]:
        """Name, or name{value of its only label}, to number."""
        self.metrics._keep_until = self.metrics._readings._next_at = self.rig.clock.monotonic()
        text = (await self.metrics.text()).decode()
        return {
            "".join([sample.name, *(f"{{{v}}}" for v in sample.labels.values())]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(self, name: str, value: float) -> dict[str, float]:
        async def look():
            found = await self.read()
            return found if found.get(name) == value else None

        return await self.rig.until(look)


@pytest.fixture
async def watched(rig):
    watched = Watched(rig)
    yield watched
    await watched.metrics.stop()


async def test_a_run_is_counted_where_it_stands_and_once_when_it_has_ended(rig, watched):
    agent = FakeAgent(rig, await rig.enrol(), slots=4, auto=False)
    await agent.connect()
    await rig.job()
    run = await rig.run()
    given = await agent.assignment()

    before = await watched.read()
    agent.accept(given)
    running = await watched.until("kronforce_executions_running", 1)
    agent.finish(given)
    await rig.ended(run.run_id)
    agent.finish(given)
    after = await watched.until("kronforce_executions_running", 0)

    assert (before["kronforce_executions_pending"], before["kronforce_agent_slots_busy"]) == (1, 1)
    assert running["kronforce_executions_pending"] == 0
    assert running["kronforce_start_delay_seconds_count"] == 1
    assert after["kronforce_agent_slots"] - after["kronforce_agent_slots_busy"] == 4
    assert after["kronforce_executions_total{succeeded}"] == 1
    assert after["kronforce_runs_total{succeeded}"] == 1
    assert after["kronforce_runs_triggered_total{api}"] == 1
    await agent.leave()


async def test_a_retry_is_an_execution_and_no_run(rig, watched):
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    await rig.job(retry_max=1)
    run = await rig.run()
    for nth, state in ((1, FAILED), (2, 4)):
        given = await agent.assignment(nth)
        agent.accept(given)
        agent.finish(given, state)
    await rig.ended(run.run_id)

    found = await watched.until("kronforce_executions_running", 0)

    ended = {
        state: found[f"kronforce_executions_total{{{state}}}"] for state in ("succeeded", "failed")
    }
    assert ended == {"succeeded": 1, "failed": 1}
    assert found["kronforce_runs_total{succeeded}"] == 1
    assert found["kronforce_runs_total{failed}"] == 0
    assert found["kronforce_start_delay_seconds_count"] == 1
    assert found["kronforce_executions_pending"] == 0
    await agent.leave()


async def test_what_is_skipped_has_ended_as_it_was_made(rig, watched):
    await rig.job(max_concurrent=1, concurrency_policy=2)
    first = await rig.run()
    second = await rig.run()

    found = await watched.read()

    assert (first.message().state, second.message().state) == (1, 8)
    assert found["kronforce_executions_total{skipped}"] == 1
    assert found["kronforce_runs_total{skipped}"] == 1
    assert found["kronforce_executions_pending"] == 1


async def test_what_ran_before_a_restart_runs_after_it(store_url, tmp_path):
    rig = Rig(store_url, tmp_path)
    await rig.start()
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    await rig.job()
    await rig.trigger(*[TriggerJobRequest(job_id="job") for _ in range(6)])
    for nth in (1, 2):
        agent.accept(await agent.assignment(nth))
    await Watched(rig).until("kronforce_executions_running", 2)
    await agent.leave()
    await rig.stop()

    again = Rig(store_url, tmp_path)
    await again.start()
    try:
        found = await Watched(again).read()
    finally:
        await again.stop()

    assert found["kronforce_executions_running"] == 2
    assert found["kronforce_executions_pending"] == 4
    assert found["kronforce_runs_triggered_total{api}"] == 0


async def test_agents_are_counted_by_state(rig, watched):
    agent = FakeAgent(rig, await rig.enrol("on"))
    await agent.connect()
    await rig.enrol("off")

    found = await watched.read()

    states = {s: found[f"kronforce_agents_total{{{s}}}"] for s in ("online", "offline", "draining")}
    assert states == {"online": 1, "offline": 1, "draining": 0}
    await agent.leave()


async def test_jobs_are_tallied_by_type_through_every_change(rig, watched):
    author = Someone()
    jobs = Jobs(
        store=rig.store, clock=rig.clock, new_id=rig.new_id, scheduler=rig.engine.scheduler,
        snapshots=rig.engine.snapshots, triggering=rig.engine.triggering,
        deleted_jobs=rig.engine.deleted_jobs, trust_operators=True,
    )  # fmt: skip

    async def create(name: str, kind: str) -> None:
        job = Job(name=name)
        job.schedule.on_demand.SetInParent()
        job.target.any.SetInParent()
        if kind == "shell":
            job.task.shell.command = "true"
        else:
            job.task.noop.SetInParent()
        await jobs.create(ADMIN, author, job, request_id="", immediate=False)

    await create("before", "noop")
    assert "kronforce_jobs_total" not in await watched.read()
    watched.metrics.start()
    await watched.until("kronforce_jobs_total", 1)
    await create("one", "shell")
    await create("two", "shell")
    change = Job()
    change.task.noop.SetInParent()
    await jobs.update(ADMIN, author, "two", change, ["task"])
    await jobs.delete(ADMIN, author, "before", "")

    found = await watched.read()

    types = {kind: found[f"kronforce_jobs_by_task_type{{{kind}}}"] for kind in ("noop", "shell")}
    assert types == {"noop": 1, "shell": 1}
    assert found["kronforce_jobs_total"] == 2


async def test_a_change_while_jobs_are_being_read_is_not_undone_by_what_was_read(rig, watched):
    tally = watched.metrics._tally
    await rig.job("a")
    row = await rig.store.read(find_job, ADMIN, "a")
    read = rig.store.read

    async def read_then_delete(fn, *args):
        page = await read(fn, *args)
        if page:
            tally.changed(row._replace(deleted_at=1))
        return page

    rig.store.read = read_then_delete
    await tally.load(rig.engine.scheduler)

    assert (tally.total, tally.by_type.total()) == (0, 0)


async def test_a_store_that_does_not_answer_is_said_so_and_asked_by_one_reader(
    rig, watched, monkeypatch
):
    monkeypatch.setattr(readings, "TIMEOUT_SECS", 0.01)
    answer, asked = asyncio.Event(), []

    async def hang():
        asked.append(1)
        await answer.wait()
        raise Unavailable("the store does not answer: try again")

    with monkeypatch.context() as patched:
        patched.setattr(watched.metrics._readings, "_ask", hang)
        found = [await watched.read() for _ in range(3)]
        answer.set()
        refused = await watched.read()

    assert [each["kronforce_db_ok"] for each in (*found, refused)] == [0, 0, 0, 0]
    assert "kronforce_oldest_waiting_seconds" not in found[0]
    assert "kronforce_executions_pending" in found[0]
    assert len(asked) <= 2
    assert (await watched.until("kronforce_db_ok", 1))["kronforce_db_size_bytes"] > 0


async def test_the_oldest_waiting_is_as_old_as_the_clock_says(store_url, tmp_path):
    rig = ManualRig(store_url, tmp_path, ManualClock())
    await rig.start()
    watched = Watched(rig)
    try:
        await rig.job()
        await rig.run()
        rig.clock.advance(30)
        found = await watched.read()
    finally:
        await watched.metrics.stop()
        await rig.stop()

    assert found["kronforce_oldest_waiting_seconds"] == 30


async def test_the_store_is_asked_once_in_a_while_however_often_somebody_scrapes(
    store_url, tmp_path, monkeypatch
):
    rig = ManualRig(store_url, tmp_path, ManualClock())
    await rig.start()
    metrics = Watched(rig).metrics
    asked = 0
    ask = metrics._readings._ask

    async def count():
        nonlocal asked
        asked += 1
        return await ask()

    monkeypatch.setattr(metrics._readings, "_ask", count)
    try:
        texts = [await metrics.text() for _ in range(5)]
        rig.clock.advance(KEEP_SECS)
        await metrics.text()
        asked_soon = asked
        rig.clock.advance(READ_SECS)
        await metrics.text()
    finally:
        await metrics.stop()
        await rig.stop()

    assert len(set(texts)) == 1
    assert (asked_soon, asked) == (1, 2)


@ON_POSTGRESQL
async def test_a_transaction_that_stays_open_grows_older_until_it_ends(store_url, tmp_path):
    rig = ManualRig(store_url, tmp_path, ManualClock())
    await rig.start()
    watched = Watched(rig)
    try:
        with rig.store.database.main.connect() as held:
            held.exec_driver_sql("SELECT pg_current_xact_id()")
            # Written after it: followers of events wait for the one that is open.
            await rig.job("a")
            ages = []
            for _ in range(3):
                ages.append((await watched.read())["kronforce_db_xmin_age_seconds"])
                rig.clock.advance(300)
        await rig.job("b")

        async def younger():
            # Other tests' transactions are of the same cluster.
            return (await watched.read())["kronforce_db_xmin_age_seconds"] < 600

        assert await rig.until(younger)
    finally:
        await watched.metrics.stop()
        await rig.stop()

    assert ages == [0, 300, 600]
