import asyncio
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import output
from kronforce_agent.table import key_hash
from kronforce_agent.tasks.noop import BLOCK
from tests.fakes.controller import (
    CREDENTIAL,
    JOIN_TOKEN,
    FakeController,
    acknowledge,
    cancel,
    noop,
    revoke,
    shell,
)
from tests.system.agent.conftest import StartAgent

IN_AGENT = ("--task-types", "noop")
LONG_MS = 3_600_000
MEGABYTE = 1024 * 1024


def pattern(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


async def test_a_noop_is_accepted_and_its_result_carries_the_message(
    controller: FakeController, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for a loaded machine: that it is short otherwise is not what is tested.
    monkeypatch.setattr(output, "HOLD_SECS", 5.0)
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop())
        await session.expect("accepted", key)
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED
    assert result.exit_code == 0
    assert [chunk.data for chunk in result.output] == [b"ok\n"]
    assert result.stdout_bytes == 3
    assert session.hello.task_types == ["noop"]
    assert controller.output_streams == 0


async def test_a_noop_with_an_exit_code_fails_with_it(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop(exit_code=3, message="no"))
        result = await session.expect("result", key)
    assert (result.state, result.state_reason) == (ex.EXECUTION_STATE_FAILED, "exit_code")
    assert (result.exit_code, result.message) == (3, "exit 3")


async def test_a_sleeping_noop_is_cancelled_at_once(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop(sleep_ms=LONG_MS))
        await session.expect("accepted", key)
        session.send(cancel(key))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_CANCELLED
    assert not result.HasField("exit_code")


async def test_a_sleeping_noop_ends_by_its_timeout(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assignment = controller.assignment(noop(sleep_ms=LONG_MS))
        assignment.assignment.timeout.FromMilliseconds(50)
        session.send(assignment)
        result = await session.expect("result")
    assert result.state == ex.EXECUTION_STATE_TIMED_OUT


async def test_the_same_assignment_again_is_answered_and_not_run_again(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.acknowledge_results = False
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assignment = controller.assignment(noop())
        key = (assignment.execution_id, assignment.fence)
        session.send(assignment)
        first = await session.expect("result", key)
        session.send(assignment)
        again = await session.expect("result", key, nth=2)
        session.send(acknowledge(key), assignment)
        kept = await session.expect("result", key, nth=3)
    assert first == again == kept


async def test_an_assignment_repeated_while_it_runs_is_accepted_again(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assignment = controller.assignment(noop(sleep_ms=LONG_MS))
        key = (assignment.execution_id, assignment.fence)
        session.send(assignment)
        await session.expect("accepted", key)
        session.send(assignment)
        await session.expect("accepted", key, nth=2)
        session.send(cancel(key))
        await session.expect("result", key)
        assert len(session.of("result", key)) == 1


async def test_a_newer_fence_ends_the_older_attempt(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        ((execution_id, fence),) = session.assign(noop(sleep_ms=LONG_MS), fence=10)
        await session.expect("accepted", (execution_id, fence))
        session.assign(noop(), execution_id=execution_id, fence=11)
        newer = await session.expect("result", (execution_id, 11))
        older = await session.expect("result", (execution_id, 10))
        session.assign(noop(), execution_id="another", fence=5)
    assert newer.state == ex.EXECUTION_STATE_SUCCEEDED
    assert older.state == ex.EXECUTION_STATE_CANCELLED


async def test_revoking_what_runs_ends_it_with_a_report(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop(sleep_ms=LONG_MS))
        await session.expect("accepted", key)
        session.send(revoke(key))
        result = await session.expect("result", key)
    assert result.state == ex.EXECUTION_STATE_CANCELLED


async def test_revoking_what_never_came_is_answered_rejected(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        session.send(revoke(("unheard-of", 7)))
        rejected = await session.expect("rejected", ("unheard-of", 7))
    assert rejected.reason == pb.REJECT_REASON_REVOKED


async def test_an_assignment_and_its_revocation_in_one_frame_never_start(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        assignment = controller.assignment(noop(sleep_ms=LONG_MS))
        key = (assignment.execution_id, assignment.fence)
        session.send(assignment, revoke(key))
        rejected = await session.expect("rejected", key)
        session.send(pb.ControllerMessage(inventory_request=pb.InventoryRequest()))
        inventory = await session.expect("inventory")
    assert rejected.reason == pb.REJECT_REASON_REVOKED
    assert not inventory.items
    assert not session.of("accepted", key)


@pytest.mark.parametrize(
    "assignment",
    [
        pytest.param(pb.Assignment(), id="no task"),
        pytest.param(
            # Field 25 of Task: an arm that this agent's contract does not have.
            pb.Assignment.FromString(b"\x2a\x03\xca\x01\x00"),
            id="unknown arm",
        ),
    ],
)
async def test_a_task_that_is_not_understood_is_rejected_by_id(
    controller: FakeController, start_agent: StartAgent, assignment: pb.Assignment
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        session.send(pb.ControllerMessage(execution_id="e", fence=3, assignment=assignment))
        rejected = await session.expect("rejected", ("e", 3))
    assert rejected.reason == pb.REJECT_REASON_UNSUPPORTED


async def test_a_task_type_that_was_not_allowed_is_rejected(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        session.assign(shell("true"))
        rejected = await session.expect("rejected")
    assert rejected.reason == pb.REJECT_REASON_UNSUPPORTED


async def test_an_unknown_kind_of_message_about_an_execution_is_rejected(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        session.send(pb.ControllerMessage(execution_id="e", fence=3))
        rejected = await session.expect("rejected", ("e", 3))
    assert rejected.reason == pb.REJECT_REASON_UNSUPPORTED


async def test_more_than_the_slots_is_rejected_as_busy(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT, "--slots", "2"):
        session = await controller.session()
        keys = session.assign(*[noop(sleep_ms=LONG_MS)] * 3)
        rejected = await session.expect("rejected", keys[2])
        await session.expect("accepted", keys[1])
        session.send(cancel(keys[0]))
        await session.expect("result", keys[0])
        (fourth,) = session.assign(noop())
        await session.expect("result", fourth)
        session.send(cancel(keys[1]))
        await session.expect("result", keys[1])
    assert rejected.reason == pb.REJECT_REASON_BUSY


async def test_an_expected_boot_id_that_is_gone_is_rejected(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (other,) = session.assign(noop(), expected_boot_id="x" * 16)
        (same,) = session.assign(noop(), expected_boot_id=session.hello.boot_id)
        rejected = await session.expect("rejected", other)
        await session.expect("result", same)
    assert rejected.reason == pb.REJECT_REASON_REVOKED


async def test_a_drained_agent_rejects_new_work_and_takes_it_again(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        session.send(pb.ControllerMessage(drain=pb.ControllerDrain(draining=True)))
        (refused,) = session.assign(noop())
        rejected = await session.expect("rejected", refused)
        session.send(pb.ControllerMessage(drain=pb.ControllerDrain(draining=False)))
        (taken,) = session.assign(noop())
        await session.expect("result", taken)
    assert rejected.reason == pb.REJECT_REASON_BUSY


async def test_a_stopping_agent_says_so_and_waits_for_what_runs_inside_it(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT) as agent:
        session = await controller.session()
        (key,) = session.assign(noop(sleep_ms=300))
        await session.expect("accepted", key)
        agent.stop()
        drain = await session.expect("drain")
        result = await session.expect("result", key)
    assert drain.draining
    assert result.state == ex.EXECUTION_STATE_SUCCEEDED


async def test_stop_tasks_ends_what_runs_inside_the_agent(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT, "--stop-tasks"):
        session = await controller.session()
        (key,) = session.assign(noop(sleep_ms=LONG_MS))
        await session.expect("accepted", key)
    assert session.of("result", key)[0].state == ex.EXECUTION_STATE_CANCELLED


async def test_results_are_sent_again_until_they_are_acknowledged(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.acknowledge_results = False
    async with start_agent(*IN_AGENT):
        first = await controller.session()
        (key,) = first.assign(noop())
        before = await first.expect("result", key)
        first.close()
        controller.acknowledge_results = True
        second = await controller.session(2)
        after = await second.expect("result", key)
    assert before == after
    (item,) = second.hello.inventory.items
    assert (item.execution_id, item.fence, item.state) == (*key, pb.INVENTORY_STATE_FINISHED)


async def test_what_runs_is_in_the_inventory_and_reports_in_the_next_session(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        first = await controller.session()
        (key,) = first.assign(noop(sleep_ms=LONG_MS))
        await first.expect("accepted", key)
        first.close()
        second = await controller.session(2)
        second.send(cancel(key))
        await second.expect("result", key)
    (item,) = second.hello.inventory.items
    assert item.state == pb.INVENTORY_STATE_RUNNING
    assert item.HasField("started_at")
    assert second.hello.boot_id == first.hello.boot_id


async def test_the_heartbeat_counts_and_hashes_what_is_held(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.heartbeat_secs = 1
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        keys = session.assign(*[noop(sleep_ms=LONG_MS)] * 2)
        await session.expect("accepted", keys[1])
        beat = await session.expect("heartbeat")
        for key in keys:
            session.send(cancel(key))
            await session.expect("result", key)
        nothing = await session.expect("heartbeat", nth=2)
    assert beat.held_count == 2
    assert beat.held_hash == key_hash(keys[0]) ^ key_hash(keys[1])
    assert (nothing.held_count, nothing.held_hash) == (0, 0)


async def test_a_heartbeat_is_answered_at_once(
    controller: FakeController, start_agent: StartAgent
) -> None:
    # Its own timer would not come in a test's time.
    controller.heartbeat_secs = 600
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        for number in (1, 2):
            session.send(pb.ControllerMessage(heartbeat=pb.ControllerHeartbeat()))
            await session.expect("heartbeat", nth=number)


async def test_a_controller_that_falls_silent_is_taken_for_dead(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.lease_secs = 1
    async with start_agent(*IN_AGENT):
        first = await controller.session()
        await first.closed()
        controller.lease_secs = 30
        second = await controller.session(2)
        (key,) = second.assign(noop())
        await second.expect("result", key)


async def test_heartbeats_keep_a_session_beyond_its_lease(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.lease_secs = 2
    controller.heartbeat_secs = 1
    controller.heartbeats = True
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        await session.expect("heartbeat", nth=4)
    assert controller.connects == 1


async def test_a_restarted_controller_is_found_again(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        first = await controller.session()
        await controller.stop()
        await first.closed()
        await controller.start()
        second = await controller.session(2)
        (key,) = second.assign(noop())
        await second.expect("result", key)


async def test_no_call_is_left_open_when_sessions_end(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT):
        for number in range(1, 4):
            session = await controller.session(number)
            (key,) = session.assign(noop(output_bytes=100_000))
            await session.expect("result", key)
            session.close()
        await controller.session(4)
        assert controller.open_calls == 1
    await controller.condition.until(lambda: controller.open_calls == 0, "no open call")


async def test_a_restart_with_the_credential_needs_no_token(
    controller: FakeController, start_agent: StartAgent, tmp_path: Path
) -> None:
    async with start_agent(*IN_AGENT):
        await controller.session(1)
    async with start_agent(*IN_AGENT, KRONFORCE_JOIN_TOKEN=""):
        await controller.session(2)
    assert len(controller.registrations) == 1
    assert controller.registrations[0].join_token == JOIN_TOKEN
    credential = tmp_path / "agent-tester" / "credential"
    assert credential.stat().st_mode & 0o777 == 0o600
    assert CREDENTIAL in credential.read_text()


async def test_50_mb_arrive_whole_with_bounded_credit(
    controller: FakeController, start_agent: StartAgent
) -> None:
    size = 50 * MEGABYTE
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop(message="", output_bytes=size))
        result = await session.expect("result", key)
    output = controller.output_of(key)
    assert bytes(output.streams[1]) == b"\n" + pattern(size)
    assert result.stdout_bytes == size + 1
    assert not output.gaps
    assert not result.output
    assert controller.most_unacked <= controller.initial_credit + 64 * 1024


async def test_slow_credit_slows_the_task_and_loses_nothing(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.initial_credit = 16 * 1024
    controller.store_output = False
    size = 1 * MEGABYTE
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (key,) = session.assign(noop(message="", output_bytes=size))
        await controller.stored(key, 16 * 1024)
        held_up = controller.output_of(key).ends[1]
        assert held_up <= 16 * 1024 + 64 * 1024
        controller.store_output = True
        session.close()
        second = await controller.session(2)
        result = await second.expect("result", key)
    assert bytes(controller.output_of(key).streams[1]) == b"\n" + pattern(size)
    assert result.stdout_bytes == size + 1


async def test_output_goes_on_where_it_was_after_a_reconnect(
    controller: FakeController, start_agent: StartAgent
) -> None:
    size = 20 * MEGABYTE
    async with start_agent(*IN_AGENT):
        first = await controller.session()
        (key,) = first.assign(noop(message="", output_bytes=size))
        await controller.stored(key, 2 * MEGABYTE)
        first.close()
        second = await controller.session(2)
        await second.expect("result", key)
    assert bytes(controller.output_of(key).streams[1]) == b"\n" + pattern(size)


async def test_another_executions_flood_does_not_hold_back_a_short_run(
    controller: FakeController, start_agent: StartAgent
) -> None:
    controller.store_output = False
    async with start_agent(*IN_AGENT):
        session = await controller.session()
        (flood,) = session.assign(noop(output_bytes=100 * MEGABYTE))
        await controller.stored(flood, 64 * 1024)
        (short,) = session.assign(noop())
        await session.expect("result", short)
        session.send(cancel(flood))
        controller.store_output = True
        session.close()
        second = await controller.session(2)
        await second.expect("result", flood)


async def test_a_burst_in_one_frame_is_answered_in_few(
    controller: FakeController, start_agent: StartAgent
) -> None:
    async with start_agent(*IN_AGENT, "--slots", "512"):
        session = await controller.session()
        keys = session.assign(*[noop()] * 256)
        await asyncio.gather(*[session.expect("result", key) for key in keys])
    assert session.frames <= 4
