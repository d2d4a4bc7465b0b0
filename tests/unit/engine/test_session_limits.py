"""A session whose agent does not read."""

from kronforce.core.targets import AgentView
from kronforce.engine.agents import session as module
from kronforce.engine.agents.session import Session
from kronforce.v1 import agent_service_pb2 as pb


def session() -> Session:
    return Session(
        agent_key=1, agent_id=bytes(16), agent_name="a", epoch=1, session_id="s", boot_id="b" * 16,
        slots=64, draining=False, view=AgentView(agent_id=bytes(16)), now=0.0,
    )  # fmt: skip


async def test_messages_beyond_the_limit_close_the_session_and_nothing_more_is_sent(monkeypatch):
    monkeypatch.setattr(module, "MAX_QUEUED", 3)
    one = session()
    for _ in range(4):
        one.send(pb.ControllerMessage(execution_id="e", fence=1))
    assert one.closed
    assert not one.takes_work
    assert await one.next_frame() is None


async def test_a_closed_session_sends_nothing_that_was_queued_before():
    one = session()
    one.send(pb.ControllerMessage(execution_id="e", fence=1))
    one.close()
    one.send(pb.ControllerMessage(execution_id="f", fence=2))
    assert await one.next_frame() is None
