"""Custom agents over restarts of the controller: claims survive, reports are taken, polls go on."""

from contextlib import asynccontextmanager

import pytest

from kronforce.errors import StaleFence
from kronforce.store.database import open_database, writing
from kronforce.store.hot import statements as st
from tests.store.pull_agent import SUCCEEDED, PullAgent, job_for
from tests.store.rig import Rig


@pytest.fixture
async def lives(store_url, tmp_path):
    """Controllers after each other over one store; each is gone when the next begins."""

    @asynccontextmanager
    async def life():
        rig = Rig(store_url, tmp_path)
        await rig.start()
        try:
            yield rig
        finally:
            await rig.stop()

    return life


async def test_what_was_given_is_reported_to_the_next_controller(lives):
    async with lives() as first:
        puller = await PullAgent.enrolled(first)
        await job_for(puller)
        run = await first.run()
        report = puller.report(await puller.pull(), stdout="still here\n")
    async with lives() as second:
        puller.rig = second
        await puller.send(report)
        assert (await second.row(run.run_id)).state == SUCCEEDED
        (attempt,) = await second.attempts(run.run_id)
        assert attempt.stdout_bytes == 11
        await puller.send(report)
        assert await puller.pull() is None


async def test_what_was_given_is_given_to_nobody_else(lives):
    async with lives() as first:
        puller = await PullAgent.enrolled(first)
        await job_for(puller)
        run = await first.run()
        await puller.pull()
    async with lives() as second:
        puller.rig = second
        assert await puller.pull() is None
        assert (await second.row(run.run_id)).state == 3


async def test_what_was_assigned_and_given_to_nobody_goes_back_to_the_queue(lives, store_url):
    async with lives() as first:
        puller = await PullAgent.enrolled(first)
        await job_for(puller)
        run = await first.run()
        (before,) = await first.attempts(run.run_id)
    # As a controller leaves it that was killed between the assignment and the answer.
    database = open_database(store_url)
    with writing(database.main) as tx:
        tx.run(st.ASSIGN, [(before.key, puller.row.key, 1, 0)])
    database.close()
    async with lives() as second:
        puller.rig = second

        async def claimed():
            return await puller.pull()

        claim = await second.until(claimed)
        await puller.finish(claim)
        (attempt,) = await second.attempts(run.run_id)
        assert (attempt.state, attempt.attempt_number) == (SUCCEEDED, 1)


async def test_output_goes_on_where_it_was(lives):
    async with lives() as first:
        puller = await PullAgent.enrolled(first)
        await job_for(puller)
        run = await first.run()
        claim = await puller.pull()
        await puller.append(claim, "before\n")
        after = puller.report(claim, stdout="after\n", stdout_offset=7)
    async with lives() as second:
        puller.rig = second
        await puller.send(after)
        (attempt,) = await second.attempts(run.run_id)
        assert attempt.stdout_bytes == 13


async def test_what_waits_is_claimed_after_a_restart(lives):
    async with lives() as first:
        puller = await PullAgent.enrolled(first, types=("python",))
        await job_for(puller)
        run = await first.run()
    async with lives() as second:
        puller.rig = second
        poll = puller.pulling(30)
        claim = await poll
        await puller.finish(claim)
        assert (await second.row(run.run_id)).state == SUCCEEDED


async def test_a_late_report_of_what_was_lost_is_kept_and_refused(lives):
    async with lives() as rig:
        puller = await PullAgent.enrolled(rig)
        await job_for(puller)
        run = await rig.run()
        claim = await puller.pull()
        await puller.heartbeat()
        rig.engine.completion.lost(claim.work.live, "agent_lost")
        await rig.ended(run.run_id)
        with pytest.raises(StaleFence):
            await puller.finish(claim)
