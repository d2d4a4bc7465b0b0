"""A cancellation says who and why, whatever it ends and whatever happens on the way."""

from kronforce.core.lifecycle import Reason, State
from kronforce.v1 import agent_service_pb2 as pb
from tests.store.rig import ADMIN, FakeAgent, Rig, Someone, item


async def running(rig, **fields):
    """An agent, a run that it has started, and its assignment."""
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    await rig.job(**fields)
    run = await rig.run()
    first = await a.assignment()
    a.accept(first)

    async def started():
        return (await rig.row(run.run_id)).state == State.RUNNING

    await rig.until(started)
    return a, run.run_id, first


async def cancel(rig, run_id, why, by="ci"):
    await rig.engine.cancelling.cancel_run(ADMIN, run_id, Someone(name=by), why)


async def test_a_running_attempt_ends_with_who_asked_for_it_and_why(rig):
    a, run_id, first = await running(rig)
    await cancel(rig, run_id, "testing it")
    told = await rig.engine.explaining.explain(ADMIN, run_id)
    assert "asked for by ci (testing it)" in told.sentence

    a.finish(first, State.CANCELLED, message="cancelled; 2 processes could not be killed")
    row = await rig.ended(run_id)
    (attempt,) = await rig.attempts(run_id)
    assert (row.cancelled_by, row.cancel_message) == ("ci", "testing it")
    assert attempt.message == "cancelled by ci: testing it; 2 processes could not be killed"
    told = await rig.engine.explaining.explain(ADMIN, run_id)
    assert "by ci: testing it; 2 processes could not be killed" in told.sentence
    await a.leave()


async def test_one_execution_that_is_cancelled_says_so_too(rig):
    a, run_id, first = await running(rig)
    await rig.engine.cancelling.cancel_execution(
        ADMIN, first.execution_id, Someone(), "only this one"
    )
    # What leaves with an error after TERM was ended by the cancel.
    a.finish(first, State.FAILED, exit_code=143, message="exit 143")
    await rig.ended(run_id)
    (attempt,) = await rig.attempts(run_id)
    assert (attempt.state, attempt.message) == (
        State.CANCELLED, "cancelled by ci: only this one; exit 143",
    )  # fmt: skip
    await a.leave()


async def test_who_and_why_outlive_the_controller(rig, store_url, tmp_path):
    a, run_id, first = await running(rig)
    await cancel(rig, run_id, "testing it")
    await a.leave()
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    again = FakeAgent(other, a.row, auto=False)
    await again.connect(item(first, pb.INVENTORY_STATE_RUNNING))
    await again.message("cancel")
    again.finish(first, State.CANCELLED, message="cancelled")

    row = await other.ended(run_id)
    (attempt,) = await other.attempts(run_id)
    assert (row.state_reason, attempt.message) == ("cancelled", "cancelled by ci: testing it")
    await again.leave()
    await other.stop()


async def test_who_asked_first_stays_on_record(rig):
    a, run_id, first = await running(rig)
    await cancel(rig, run_id, "first")
    await cancel(rig, run_id, "second", by="ops")
    a.finish(first, State.CANCELLED, message="cancelled")
    row = await rig.ended(run_id)
    (attempt,) = await rig.attempts(run_id)
    assert (row.cancelled_by, row.cancel_message) == ("ci", "first")
    assert attempt.message == "cancelled by ci: first"
    await a.leave()


async def test_what_a_newer_run_replaces_is_replaced_after_a_restart_too(
    rig, store_url, tmp_path
):  # fmt: skip
    a, old, first = await running(rig, concurrency_policy=3)
    await rig.run()
    await a.message("cancel")
    await a.leave()
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    again = FakeAgent(other, a.row, auto=False)
    await again.connect(item(first, pb.INVENTORY_STATE_RUNNING))
    await again.message("cancel")
    told = await other.engine.explaining.explain(ADMIN, old)
    assert "since a newer run takes its place" in told.sentence
    again.finish(first, State.CANCELLED, message="cancelled")

    assert (await other.ended(old)).state_reason == Reason.REPLACED
    await again.leave()
    await other.stop()
