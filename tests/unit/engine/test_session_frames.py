"""What goes to an agent in one frame."""

from kronforce.core.targets import AgentView
from kronforce.engine.agents.session import FRAME, FRAME_BYTES, Session
from kronforce.v1 import agent_service_pb2 as pb

CLIENT_LIMIT = 4 << 20


def session() -> Session:
    return Session(
        agent_key=1, agent_id=bytes(16), agent_name="a", epoch=1, session_id="s", boot_id="b" * 16,
        slots=64, draining=False, view=AgentView(agent_id=bytes(16)), now=0.0,
    )  # fmt: skip


def assignment(size: int) -> pb.ControllerMessage:
    message = pb.ControllerMessage(execution_id="e", fence=1)
    message.assignment.task.shell.command = "x" * size
    return message


async def test_large_assignments_are_spread_over_frames_that_any_client_takes():
    one = session()
    for _ in range(64):
        one.send(assignment(FRAME_BYTES // 5))
    one.send(assignment(FRAME_BYTES + 1))
    sizes, count = [], 0
    while count < 65:
        frame = await one.next_frame()
        count += len(frame.messages)
        sizes.append(frame.ByteSize())
    assert count == 65
    assert max(sizes) < CLIENT_LIMIT


async def test_small_messages_share_a_frame():
    one = session()
    for _ in range(FRAME + 1):
        one.send(assignment(10))
    assert len((await one.next_frame()).messages) == FRAME
    assert len((await one.next_frame()).messages) == 1
