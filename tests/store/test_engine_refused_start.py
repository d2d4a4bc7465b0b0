"""A start that the store did not take is told with the end, once, whatever came between."""

import sqlalchemy as sa

from kronforce.errors import Unavailable
from kronforce.store.hot.commands import Start
from kronforce.store.tables import events
from tests.store.rig import FakeAgent

SUCCEEDED = 4


def _kinds(tx):
    return list(tx.conn.scalars(sa.select(events.c.kind).order_by(events.c.seq)))


async def _running(rig):
    await rig.job()
    agent = FakeAgent(rig, await rig.enrol(), auto=False)
    await agent.connect()
    run = await rig.run()
    return agent, run, await agent.assignment()


async def _ends_after(rig, agent, sent, refused):
    """Accepted, and ended as soon as the start was refused."""
    agent.accept(sent)

    async def was_refused():
        return refused

    await rig.until(was_refused)
    agent.finish(sent)


async def _is_told_once(rig, run):
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    kinds = await rig.store.read(_kinds)
    assert [kinds.count(kind) for kind in ("execution.started", "execution.completed")] == [1, 1]


async def test_an_end_that_comes_before_the_start_is_tried_again_tells_of_both(rig, monkeypatch):
    agent, run, sent = await _running(rig)
    stage, refused = rig.store.stage, []

    def refuse_starts(command):
        if isinstance(command, Start):
            refused.append(command)
            command.committed(Unavailable("the store is away"))
        else:
            stage(command)

    monkeypatch.setattr(rig.store, "stage", refuse_starts)
    await _ends_after(rig, agent, sent, refused)
    await _is_told_once(rig, run)
    await agent.leave()


async def test_an_end_right_behind_a_start_that_fails_tells_of_both(rig, monkeypatch):
    agent, run, sent = await _running(rig)
    apply, refused = rig.store.main._apply, []

    def refuse_first_start(tx, batch):
        if not refused and any(isinstance(command, Start) for command in batch):
            # While it is tried, the end is staged: it is in the batch that is cut next.
            refused.append(batch)
            rig.store.main._loop.call_soon_threadsafe(agent.finish, sent)
            raise Unavailable("the store is away")
        return apply(tx, batch)

    monkeypatch.setattr(rig.store.main, "_apply", refuse_first_start)
    agent.accept(sent)
    await _is_told_once(rig, run)
    assert refused
    await agent.leave()


async def test_a_start_that_was_written_although_it_was_refused_is_told_once(rig, monkeypatch):
    agent, run, sent = await _running(rig)
    stage, written = rig.store.stage, []

    def tell_of_a_failure(command):
        if isinstance(command, Start) and not written:
            told = command.then

            def unsure(start, _error):
                written.append(start)
                told(start, Unavailable("nobody knows whether it was written"))

            command.then = unsure
        stage(command)

    monkeypatch.setattr(rig.store, "stage", tell_of_a_failure)
    await _ends_after(rig, agent, sent, written)
    await _is_told_once(rig, run)
    await agent.leave()
