from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent.clock import SystemClock
from kronforce_agent.endings import Endings
from kronforce_agent.held import ACCEPTED, FINISHED, FINISHING, RUNNING, Held
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launched import Launched
from kronforce_agent.launcher.protocol import RUNNING as TASK_RUNNING
from kronforce_agent.launcher.protocol import Exited, Output, TaskState
from kronforce_agent.outbox import Outbox
from kronforce_agent.output import OutputRouter
from kronforce_agent.records import Accept, Key
from kronforce_agent.secrets import SecretSets
from kronforce_agent.table import Limits, Table
from kronforce_agent.tasks.kinds import Host

KEY = ("execution", 7)


class Room:
    """The launched executions of an agent whose launcher does not answer."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.journal = Journal(folder, self.clock)
        self.journal.open()
        self.table = Table(Limits(slots=4))
        self.router = OutputRouter(lambda _secs, _call: None)
        self.router.start_session(1_000_000)
        endings = Endings(
            table=self.table,
            journal=self.journal,
            outbox=Outbox(),
            router=self.router,
            clock=self.clock,
            launcher=lambda: None,
        )
        self.launched = Launched(
            table=self.table,
            journal=self.journal,
            router=self.router,
            endings=endings,
            clock=self.clock,
            host=Host(agent_name="a", work_folder=folder),
            launcher=lambda: None,
            secrets=SecretSets(),
        )

    def recover(self, entry: Entry, *tasks: TaskState, boot_id: str = "boot") -> Held:
        self.launched.recover({KEY: entry}, tasks, boot_id)
        held = self.table.get(KEY)
        assert held is not None
        return held

    def chunks(self) -> list[ex.OutputChunk]:
        return [chunk for each in self.router.next_frame() for chunk in each.chunks]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    room = Room(tmp_path)
    yield room
    room.journal.close()


def accept(arm: str = "shell") -> Accept:
    return Accept(execution_id=KEY[0], fence=KEY[1], at_micros=1, arm=arm, boot_id="boot")


def report(**fields: object) -> bytes:
    result = pb.Result(state=ex.EXECUTION_STATE_SUCCEEDED, **fields)  # type: ignore[arg-type]
    return pb.AgentMessage(execution_id=KEY[0], fence=KEY[1], result=result).SerializeToString()


def task(key: Key = KEY, *, exited: Exited | None = None, acked: int = 0) -> TaskState:
    return TaskState(
        execution_id=key[0],
        fence=key[1],
        state=TASK_RUNNING,
        pid=1,
        started_at_micros=5,
        acked_seq=acked,
        last_seq=3,
        stdout_acked=acked * 10,
        stderr_acked=0,
        stdout_end=30,
        stderr_end=0,
        exit=exited,
    )


def output(seq: int, offset: int, size: int) -> Output:
    return Output(
        execution_id=KEY[0],
        fence=KEY[1],
        seq=seq,
        stream=1,
        offset=offset,
        at_micros=1,
        data=b"x" * size,
    )


def state_of(held: Held) -> tuple[ex.ExecutionState.ValueType, str]:
    result = pb.AgentMessage.FromString(held.report).result
    return result.state, result.state_reason


async def test_accepted_and_unknown_to_the_same_launcher_was_never_started(room: Room) -> None:
    assert room.recover(Entry(accept=accept())).state == ACCEPTED


async def test_accepted_under_another_launcher_is_lost(room: Room) -> None:
    held = room.recover(Entry(accept=accept()), boot_id="another")
    assert held.state == FINISHING
    assert state_of(held) == (ex.EXECUTION_STATE_LOST, "launcher_died")


async def test_what_ran_in_the_agent_is_lost_with_it(room: Room) -> None:
    held = room.recover(Entry(accept=accept("noop")))
    assert state_of(held) == (ex.EXECUTION_STATE_LOST, "agent_restarted")


async def test_what_the_launcher_runs_goes_on_after_its_acknowledged_output(room: Room) -> None:
    held = room.recover(Entry(accept=accept()), task(acked=2))
    assert held.state == RUNNING
    room.launched.on_event(output(2, 10, 10))
    room.launched.on_event(output(3, 20, 10))
    assert [(chunk.offset, chunk.sequence) for chunk in room.chunks()] == [(20, 3)]


async def test_what_ended_without_the_agent_ended_when_the_launcher_saw_it(room: Room) -> None:
    exited = Exited(
        execution_id=KEY[0], fence=KEY[1], exit_code=0, signal=None,
        started_at_micros=1_000_000, ended_at_micros=4_000_000,
    )  # fmt: skip
    held = room.recover(Entry(accept=accept()), task(exited=exited))
    result = pb.AgentMessage.FromString(held.report).result
    assert (result.started_at.seconds, result.finished_at.seconds) == (1, 4)


async def test_what_ended_without_the_agent_gets_the_launchers_outcome(room: Room) -> None:
    exited = Exited(
        execution_id=KEY[0], fence=KEY[1], exit_code=4, signal=None, stdout_end=30, last_seq=3
    )
    held = room.recover(Entry(accept=accept()), task(exited=exited))
    assert state_of(held) == (ex.EXECUTION_STATE_FAILED, "exit_code")
    assert pb.AgentMessage.FromString(held.report).result.stdout_bytes == 30


async def test_a_result_in_the_journal_stands_whatever_the_launcher_says(room: Room) -> None:
    held = room.recover(Entry(accept=accept(), message=report(exit_code=0)), task())
    assert held.state == FINISHED
    assert state_of(held) == (ex.EXECUTION_STATE_SUCCEEDED, "")


async def test_output_that_died_with_the_launcher_becomes_an_explicit_gap(room: Room) -> None:
    room.recover(Entry(accept=accept(), message=report(stdout_bytes=100, stderr_bytes=5)), task())
    room.launched.on_event(output(1, 0, 40))
    room.launched.lost()
    found = [(chunk.stream, chunk.offset, chunk.gap_bytes) for chunk in room.chunks()]
    assert found == [(1, 0, 0), (1, 40, 60), (2, 0, 5)]


async def test_what_ran_when_the_launcher_died_is_lost_with_what_was_read(room: Room) -> None:
    held = room.recover(Entry(accept=accept()), task())
    room.launched.on_event(output(1, 0, 40))
    room.launched.lost()
    assert state_of(held) == (ex.EXECUTION_STATE_LOST, "launcher_died")
    assert pb.AgentMessage.FromString(held.report).result.stdout_bytes == 40


async def test_events_about_what_is_not_held_are_ignored(room: Room) -> None:
    room.launched.on_event(output(1, 0, 4))
    assert len(room.table) == 0
