import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import outbox as outboxes
from kronforce_agent.outbox import FRAME_BYTES, Outbox, frame_of


def message(text: str) -> pb.AgentMessage:
    return pb.AgentMessage(execution_id=text, fence=1, accepted=pb.Accepted())


@given(st.lists(st.text(max_size=400), min_size=1, max_size=50))
def test_a_frame_is_what_protobuf_would_have_written(texts: list[str]) -> None:
    messages = [message(text) for text in texts]
    outbox = Outbox()
    outbox.open()
    for each in messages:
        outbox.put(each.SerializeToString())
    frame = outbox.take_frame()
    assert frame == pb.ConnectRequest(messages=messages).SerializeToString()
    assert not outbox.wake.is_set()


def test_a_long_queue_leaves_in_several_bounded_frames() -> None:
    outbox = Outbox()
    outbox.open()
    big = message("x" * (FRAME_BYTES // 3)).SerializeToString()
    for _ in range(10):
        outbox.put(big)
    sizes = []
    while not outbox.empty:
        sizes.append(len(outbox.take_frame()))
    assert len(sizes) > 2
    assert max(sizes) < FRAME_BYTES + len(big) + 100


def test_without_a_session_nothing_is_queued() -> None:
    outbox = Outbox()
    outbox.put(b"lost")
    assert outbox.empty
    outbox.open()
    outbox.put(b"kept")
    outbox.close()
    assert outbox.empty
    assert not outbox.wake.is_set()


def test_a_single_message_is_a_frame_too() -> None:
    each = message("hello")
    assert pb.ConnectRequest.FromString(frame_of(each.SerializeToString())).messages[0] == each


def test_a_full_queue_drops_and_asks_for_the_sessions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "QUEUE_BYTES", 10)
    outbox = Outbox()
    asked: list[bool] = []
    outbox.on_overflow = lambda: asked.append(True)
    outbox.open()
    outbox.put(b"x" * 11)
    assert not asked
    outbox.put(b"one too many")
    assert asked
    assert len(outbox.take_frame()) == len(frame_of(b"x" * 11))
    outbox.put(b"there is room again")
    assert not outbox.empty
