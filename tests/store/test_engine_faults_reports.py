"""Reports and output over both stores: nothing stuck, nothing counted twice, no byte lost."""

import pytest

from kronforce.core.lifecycle import Reason
from kronforce.core.params_rules import DEPTH_MAX
from kronforce.engine import result_output
from kronforce.engine.output import INITIAL_CREDIT, MAX_PENDING, WINDOW
from kronforce.errors import FailedPrecondition, Unavailable
from kronforce.store import output as output_store
from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1.execution_pb2 import OutputChunk
from tests.store.rig import FakeAgent, Rig, Someone, item

SUCCEEDED, FAILED, LOST = 4, 5, 11
KIB = 1 << 10


async def _true(value):
    return value


class Talker:
    """A running execution and what its agent's output stream is told."""

    def __init__(self, rig, agent, sent) -> None:
        self.rig = rig
        self.agent = agent
        self.sent = sent
        self.live = rig.engine.table.by_id[sent.execution_id]
        self.sequence = 0
        self.told: list[pb.OutputProgress] = []

    def say(self, offset: int, data: bytes, stream: int = 1) -> None:
        self.sequence += 1
        chunk = OutputChunk(stream=stream, offset=offset, data=data, sequence=self.sequence)
        message = pb.ExecutionOutput(
            execution_id=self.sent.execution_id, fence=self.sent.fence, chunks=[chunk]
        )
        self.rig.engine.output.receive(self.agent.row.key, message, self.told.append)

    async def stored(self, sequence: int | None = None) -> None:
        wanted = sequence or self.sequence
        await self.rig.until(lambda: _true(self.live.output.stored_sequence >= wanted))

    async def rows(self):
        return await self.rig.store.read_output(output_store.read_chunks, self.live.key, 0, 1 << 20)


async def running(rig, **fields):
    await rig.job(**fields)
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    run = await rig.run()
    sent = await a.assignment()
    a.accept(sent)
    await rig.until(lambda: _running(rig, run))
    return run, a, Talker(rig, a, sent)


async def _running(rig, run):
    return (await rig.row(run.run_id)).state == 3


def fail_next_output(rig, monkeypatch):
    """The store takes no output, once."""
    stage = rig.store.output.stage

    def refuse(command):
        monkeypatch.setattr(rig.store.output, "stage", stage)
        command.committed(Unavailable("the store is away"))

    monkeypatch.setattr(rig.store.output, "stage", refuse)


async def test_output_that_is_stored_at_a_second_try_is_acknowledged_with_credit(rig, monkeypatch):
    _, a, talker = await running(rig)
    fail_next_output(rig, monkeypatch)
    talker.say(0, b"x" * 10 * KIB)
    assert talker.told == []
    rig.engine.output.retry_held_back()
    await talker.stored()
    assert talker.told[-1].stored_sequence == 1
    assert sum(p.credit_bytes for p in talker.told) >= 10 * KIB
    await a.leave()


async def test_output_that_was_not_stored_counts_once_against_the_cap(rig, monkeypatch):
    _, a, talker = await running(rig, output_cap_bytes=128 * KIB)
    fail_next_output(rig, monkeypatch)
    for index in range(4):
        talker.say(index * 16 * KIB, b"x" * 16 * KIB)
    rig.engine.output.retry_held_back()
    await talker.stored()
    assert talker.live.output.capped.head_bytes == 64 * KIB
    assert not talker.live.output.capped.tail
    assert talker.live.output.capped.dropped == 0
    await a.leave()


async def test_a_failed_write_beyond_the_cap_gives_up_the_same_rows_again(rig, monkeypatch):
    _, a, talker = await running(rig, output_cap_bytes=128 * KIB)
    offset = 0
    for index in range(8):
        if index == 6:
            fail_next_output(rig, monkeypatch)
        talker.say(offset, b"x" * 32 * KIB)
        offset += 32 * KIB
        rig.engine.output.retry_held_back()
        await talker.stored()
    kept = sum(row.length for row in await talker.rows())
    capped = talker.live.output.capped
    assert kept == capped.head_bytes + capped.tail_bytes == 128 * KIB
    assert capped.dropped == 8 * 32 * KIB - kept
    await a.leave()


@pytest.mark.parametrize("cap", [1_000, 65_536, 100_000])
async def test_a_row_larger_than_the_cap_leaves_its_first_and_its_last_bytes(rig, cap):
    _, a, talker = await running(rig, output_cap_bytes=cap)
    whole = b"".join(b"%d\n" % number for number in range(50_000))
    for start in range(0, len(whole), 64 * KIB):
        talker.say(start, whole[start : start + 64 * KIB])
        await talker.stored()
    rows = await talker.rows()
    head = b"".join(row.data for row in rows if row.start < cap // 2)
    tail = b"".join(row.data for row in rows if row.start >= cap // 2)
    assert head == whole[: cap // 2]
    assert whole.endswith(tail)
    assert cap // 2 * 7 // 8 <= len(tail) <= cap // 2
    await a.leave()


async def test_what_comes_with_the_result_counts_against_the_cap_of_what_was_streamed(rig):
    run, a, talker = await running(rig, output_cap_bytes=1_000)
    talker.say(0, b"a" * 5_000)
    await talker.stored()
    message = pb.AgentMessage(execution_id=talker.sent.execution_id, fence=talker.sent.fence)
    message.result.state, message.result.stdout_bytes = SUCCEEDED, 5_900
    message.result.output.add(stream=1, offset=5_000, data=b"z" * 900)
    a.send(message)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    rows = await talker.rows()
    assert b"".join(row.data for row in rows if row.start < 500) == b"a" * 500
    tail = b"".join(row.data for row in rows if row.start >= 500)
    assert set(tail) == set(b"z")
    assert 437 <= len(tail) <= 500
    await a.leave()


async def test_bytes_behind_a_hole_are_kept_and_the_hole_is_not_filled(rig):
    _, a, talker = await running(rig)
    for offset in (0, 10, 15, 20):
        talker.say(offset, b"12345")
    await talker.stored()
    covered = [(row.start, row.start + row.length) for row in await talker.rows()]
    assert sum(end - start for start, end in covered) == 20
    assert covered[0] == (0, 5)
    assert covered[-1][1] == 25
    assert talker.live.output.stored_sequence == 4
    await a.leave()


async def test_after_a_restart_the_cap_gives_up_the_tail_of_before(rig, store_url, tmp_path):
    _, a, talker = await running(rig, output_cap_bytes=128 * KIB)
    for index in range(5):
        talker.say(index * 32 * KIB, b"x" * 32 * KIB)
        await talker.stored()
    known = talker.live.output.capped
    before = (known.head_bytes, known.tail_bytes, list(known.tail))
    await a.leave()
    await rig.stop()
    other = Rig(store_url, tmp_path)
    await other.start()
    state = other.engine.table.by_id[talker.sent.execution_id].output.capped
    assert (state.head_bytes, state.tail_bytes, list(state.tail)) == before
    await other.stop()


async def test_credit_starts_afresh_with_each_session(rig):
    _, a, talker = await running(rig)
    for index in range(4):
        talker.say(index * 32 * KIB, b"x" * 32 * KIB)
        await talker.stored()
    assert talker.live.output.window > INITIAL_CREDIT
    await a.leave()
    await a.connect(item(talker.sent, pb.INVENTORY_STATE_RUNNING))
    assert talker.live.output.window == INITIAL_CREDIT
    await a.leave()


async def test_what_an_agent_sends_again_uses_up_no_credit(rig):
    """It never heard that a whole window of it is stored, and sends all of that again."""
    _, a, talker = await running(rig)
    pieces = [(index * 32 * KIB, b"x" * 32 * KIB) for index in range(WINDOW // (32 * KIB) + 2)]
    for piece in pieces:
        talker.say(*piece)
        await talker.stored()
    await a.leave()
    await a.connect(item(talker.sent, pb.INVENTORY_STATE_RUNNING))
    talker.told.clear()
    talker.sequence = 0
    for piece in pieces:
        talker.say(*piece)
    sent = sum(len(data) for _, data in pieces)
    assert INITIAL_CREDIT + sum(p.credit_bytes for p in talker.told) - sent == WINDOW
    await a.leave()


async def test_an_agent_that_sends_without_credit_is_cut_off(rig, monkeypatch):
    _, a, talker = await running(rig)
    monkeypatch.setattr(rig.store.output, "stage", lambda command: None)
    for index in range(MAX_PENDING >> 20):
        talker.say(index << 20, b"x" * (1 << 20))
    talker.say(50 << 20, b"x" * (1 << 20))
    with pytest.raises(FailedPrecondition):
        talker.say(51 << 20, b"x" * (1 << 20))
    assert talker.live.output.bytes_pending <= MAX_PENDING + (1 << 20)
    await a.leave()


async def test_output_in_a_result_is_stored_to_its_limit_and_the_rest_is_a_gap(rig):
    run, a, talker = await running(rig)
    whole = b"".join(b"%05d\n" % number for number in range(10_000))
    message = pb.AgentMessage(execution_id=talker.sent.execution_id, fence=talker.sent.fence)
    message.result.state, message.result.stdout_bytes = SUCCEEDED, len(whole)
    message.result.output.add(stream=1, offset=0, data=whole)
    a.send(message)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    stored = await rig.store.read(output_store.get_inline, talker.live.key)
    head, gap, tail = pb.ExecutionOutput.FromString(stored).chunks
    half = result_output.MAX_INLINE // 2
    assert (head.data, tail.data) == (whole[:half], whole[-half:])
    assert (gap.offset, gap.gap_bytes) == (half, len(whole) - 2 * half)
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.stdout_bytes == len(whole)
    await a.leave()


async def test_a_result_whose_output_is_gone_with_its_agent_still_counts(rig, monkeypatch):
    monkeypatch.setattr(result_output, "OUTPUT_PATIENCE_SECS", 0.4)
    run, a, talker = await running(rig, lost_after_secs=1)
    a.finish(talker.sent, stdout_bytes=100)
    await rig.until(lambda: _true(talker.live.finishing))
    await a.leave()
    row = await rig.ended(run.run_id)
    assert row.state == SUCCEEDED
    (gap,) = await talker.rows()
    assert (gap.start, gap.length, gap.data) == (0, 100, None)


async def test_a_result_that_is_being_stored_takes_no_slot_when_its_agent_returns(rig):
    run, a, talker = await running(rig)
    a.finish(talker.sent, stdout_bytes=5)
    await rig.until(lambda: _true(talker.live.finishing))
    await a.leave()
    await a.connect(item(talker.sent, pb.INVENTORY_STATE_FINISHED))
    session = rig.engine.dispatcher.sessions[a.row.key]
    talker.say(0, b"12345")
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    assert (await a.message("acknowledge", 2)).acknowledge.kind == pb.ACKNOWLEDGE_KIND_RESULT
    assert (session.free, session.held) == (session.slots, {})
    await a.leave()


async def test_a_message_with_a_nul_ends_its_run_on_either_store(rig):
    run, a, talker = await running(rig)
    a.finish(talker.sent, FAILED, message="a\0b", state_reason="odd\0")
    assert (await rig.ended(run.run_id)).state == FAILED
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.message == "a\ufffdb"
    await a.leave()


async def test_output_of_a_stream_that_does_not_exist_does_not_hold_up_the_result(rig):
    run, a, talker = await running(rig)
    message = pb.AgentMessage(execution_id=talker.sent.execution_id, fence=talker.sent.fence)
    message.result.state = SUCCEEDED
    message.result.output.add(offset=0, data=b"x")
    a.send(message)
    assert (await rig.ended(run.run_id)).state == SUCCEEDED
    await a.leave()


async def test_what_could_not_be_put_back_at_once_is_put_back_later(rig, monkeypatch):
    await rig.job()
    a = FakeAgent(rig, await rig.enrol(), auto=False)
    await a.connect()
    await rig.run()
    sent = await a.assignment()
    write = rig.store.write
    monkeypatch.setattr("kronforce.engine.tasks.RETRY_SECS", 0.01)

    async def away(fn, *args, **kw):
        monkeypatch.setattr(rig.store, "write", write)
        raise Unavailable("the store is away")

    monkeypatch.setattr(rig.store, "write", away)
    a.reject(sent, pb.REJECT_REASON_BUSY)
    again = await a.assignment(2)
    assert again.execution_id == sent.execution_id
    assert again.fence > sent.fence
    await a.leave()


async def test_what_was_accepted_and_then_revoked_is_not_offered_again(rig):
    run, a, talker = await running(rig)
    a.reject(talker.sent, pb.REJECT_REASON_REVOKED)
    row = await rig.ended(run.run_id)
    assert (row.state, row.state_reason) == (LOST, Reason.AGENT_LOST)
    await a.leave()


async def test_a_session_that_hangs_in_a_write_is_given_up(rig):
    row = await rig.enrol()
    hello = pb.AgentMessage()
    hello.hello.protocol_version, hello.hello.boot_id, hello.hello.slots = 1, "b" * 16, 1

    async def frames():
        yield pb.ConnectRequest(messages=[hello])
        await rig.clock.sleep_until(rig.clock.monotonic() + 60)

    replies = rig.engine.sessions.connect(Someone(agent_key=row.key), frames())
    await anext(replies)
    # Nobody takes the next frame; the session is closed from our side.
    rig.engine.sessions.close_agent(row.key)
    await rig.until(lambda: _true(row.key not in rig.engine.dispatcher.sessions))
    assert row.key not in rig.engine.sessions.away or not rig.engine.sessions.away[row.key].held
    await replies.aclose()


async def test_what_was_written_for_a_closed_session_is_lost_with_the_rest_in_time(rig):
    await rig.job(lost_after_secs=1)
    a = FakeAgent(rig, await rig.enrol(), auto=False, slots=1)
    await a.connect()
    run = await rig.run()
    sent = await a.assignment()
    session = rig.engine.dispatcher.sessions[a.row.key]
    live = session.held.pop(sent.execution_id)
    session.closed = True
    rig.engine.sessions.assigned(live, session)
    await a.leave()
    row = await rig.ended(run.run_id)
    assert (row.state, row.state_reason) == (LOST, "agent_lost")


async def test_outputs_that_nobody_could_read_are_left_out_and_said_to_be(rig):
    run, a, talker = await running(rig)
    report = pb.AgentMessage(execution_id=talker.sent.execution_id, fence=talker.sent.fence)
    report.result.state = SUCCEEDED
    inner = report.result.outputs
    for _ in range(DEPTH_MAX):
        inner = inner.fields["a"].struct_value
    a.send(report)
    row = await rig.ended(run.run_id)
    assert (row.state, row.outputs) == (SUCCEEDED, None)
    (attempt,) = await rig.attempts(run.run_id)
    assert attempt.message == "its outputs were left out: they are nested deeper than 25"
    await a.leave()
