from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce_agent.launcher import protocol as p
from kronforce_agent.launcher.protocol import FrameReader, ProtocolError, encode

EXIT = p.Exited(
    execution_id="e-1",
    fence=2**63,
    exit_code=None,
    signal=9,
    timed_out=True,
    cancelled=False,
    stdout_end=10,
    stderr_end=2**40,
    last_seq=3,
    started_at_micros=4,
    ended_at_micros=5,
    output_cut=True,
    leftovers=1,
    killed=3,
)
TASK = p.TaskState(
    execution_id="e-1",
    fence=1,
    state=p.EXITED,
    pid=2,
    started_at_micros=3,
    acked_seq=4,
    last_seq=5,
    stdout_acked=6,
    stderr_acked=7,
    stdout_end=8,
    stderr_end=9,
    exit=EXIT,
)
MESSAGES: list[p.Message] = [
    p.Spawn(execution_id="e-1", fence=1, command="echo 'ü' \udcff", env={"A": "b\udc80"}),
    p.Spawn(execution_id="e-1", fence=1, argv=("a", "b"), timeout_secs=0.5, leave_background=True),
    p.Cancel(execution_id="e-1", fence=1, grace_secs=2.5),
    p.Cancel(execution_id="e-1", fence=1),
    p.Credit(execution_id="e-1", fence=1, amount=65536),
    p.AckOutput(execution_id="e-1", fence=1, seq=7),
    p.AckExit(execution_id="ü", fence=2**64 - 1),
    p.SetMasks(mask_set="abc", secrets=(b"\x00\xff", b"secret")),
    p.Offline(on=True),
    p.InventoryRequest(),
    p.Shutdown(grace_secs=None),
    p.Welcome(version=1, boot_id="b", pid=3),
    p.Started(execution_id="e-1", fence=1, pid=9, at_micros=10),
    p.SpawnFailed(execution_id="e-1", fence=1, reason=p.MISSING_FOLDER, message="no"),
    p.Output(
        execution_id="e-1", fence=1, seq=1, stream=2, offset=2**40, at_micros=5, data=b"\x00\xffx"
    ),
    p.Output(execution_id="e-1", fence=1, seq=1, stream=1, offset=3, at_micros=5, data=b"", gap=77),
    EXIT,
    p.Exited(execution_id="e", fence=1, exit_code=0, signal=None),
    p.Inventory(tasks=(TASK,)),
    p.SpoolState(full=True, used_bytes=1, limit_bytes=2),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_survives_the_wire(message: p.Message) -> None:
    assert FrameReader().feed(encode(message)) == [message]


@given(st.lists(st.integers(1, 2000), max_size=30))
def test_messages_come_out_whole_however_the_stream_is_sliced(cuts: list[int]) -> None:
    stream = b"".join(map(encode, MESSAGES))
    reader = FrameReader()

    found = []
    for size in cuts:
        found += reader.feed(stream[:size])
        stream = stream[size:]
    found += reader.feed(stream)

    assert found == MESSAGES


def test_a_key_that_a_newer_peer_added_is_ignored() -> None:
    body = json.dumps({"version": 1, "boot_id": "b", "pid": 1, "colour": "red"}).encode()
    frame = struct.pack("!IB", len(body) + 1, 65) + body

    assert FrameReader().feed(frame) == [p.Welcome(version=1, boot_id="b", pid=1)]


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("!IB", 0, 1),
        struct.pack("!IB", p.MAX_FRAME + 1, 1),
        struct.pack("!IB", 1, 250),
        struct.pack("!IB", 3, 1) + b"{}",
        struct.pack("!IB", 3, 3) + b"xx",
        struct.pack("!IB", 5, 65) + b"nope",
    ],
    ids=["empty", "huge", "unknown kind", "missing fields", "short credit", "no json"],
)
def test_rubbish_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed(frame)
