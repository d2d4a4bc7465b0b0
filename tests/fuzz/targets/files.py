"""What agent and launcher read back from their folder, and what comes over the launcher's socket.

The folder is 0700; a stranger gets there by a damaged disk or a restored backup, or as a task of
the same user.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from hypothesis import strategies as st

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import enrolment, records
from kronforce_agent.enrolment import Credential, EnrolmentError
from kronforce_agent.journal import Journal
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.starts import LauncherRecord, Start, read_starts
from kronforce_agent.records import Accept
from tests.fuzz.inputs import EDGES, damaged
from tests.fuzz.target import Check, Target, plain

ID = "0190c5a4-7b1e-7c3a-9d2f-0123456789ab"
ACCEPT = records.encode_accept(
    Accept(execution_id=ID, fence=7, at_micros=9, arm="shell", boot_id="b" * 16, timeout_ms=5)
)
RESULT = records.encode_result(
    pb.AgentMessage(execution_id=ID, fence=7, result=pb.Result(message="x")).SerializeToString()
)
MARKS = [
    records.encode_mark(kind, (ID, 7), 11, 4711)
    for kind in (records.START, records.ACKNOWLEDGED, records.DROPPED)
]


# The journal: records that are framed well, with whatever in them.

framed = st.builds(records._frame, st.integers(0, 255), damaged([ACCEPT[9:], RESULT[9:]]))
journals = st.lists(framed | st.sampled_from([ACCEPT, RESULT, *MARKS]), max_size=8).map(
    b"".join
) | damaged([ACCEPT + RESULT + b"".join(MARKS)])


class _Clock:
    def micros(self) -> int:
        return 2**50


def _journal(data: bytes) -> None:
    """What was read can be written again, and is then read as the same."""
    first = _replayed(data)
    again = _replayed(first._snapshot())
    assert again._live == first._live


def _replayed(data: bytes) -> Journal:
    journal = Journal(Path("/nowhere"), _Clock())  # type: ignore[arg-type]  # micros is all of it
    for record in records.read(data).records:
        journal._replay(record)
    return journal


# The launcher's socket.

_DEEP = b"[" * 30_000

_HEAD = '{"execution_id": "e", "fence": 1, '
_JSON = [
    '{"version": 1, "boot_id": "b", "pid": 3}',
    _HEAD + '"command": "true", "argv": ["a"], "env": {"A": "b"}, "timeout_secs": 1}',
    _HEAD + '"grace_secs": 1}',
    '{"mask_set": "a", "secrets": ["YQ=="]}',
    '{"tasks": [' + _HEAD + '"state": "running", "exit": {"exit_code": 1}}]}',
]


def _framed(kind: int, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


frames = st.lists(
    st.builds(
        _framed,
        st.sampled_from(sorted([*protocol._KINDS, *protocol._UNPACKERS])) | st.integers(0, 255),
        damaged([each.encode() for each in _JSON])
        | st.binary(max_size=120)
        | st.sampled_from([_DEEP, b'{"a":' * 30_000]),
    ),
    max_size=4,
).map(b"".join) | st.binary(max_size=60)
cuts = st.lists(st.integers(1, 300), max_size=5)


def _frames(value: tuple[bytes, list[int]]) -> None:
    data, sizes = value
    reader = protocol.FrameReader()
    try:
        for size in sizes:
            reader.feed(data[:size])
            data = data[size:]
        reader.feed(data)
    except protocol.ProtocolError:
        return


# Small files.

_RECORD = LauncherRecord(pid=7, start_ticks=8, kernel_boot="k", cgroup="/c")
_STARTS = json.dumps(asdict(_RECORD)) + "\n" + Start(7, 8, ID).line() * 3
_CREDENTIAL = json.dumps(asdict(Credential(agent_id=ID, secret="kfa_x", ca_pem="")))
_NUMBERS = [json.dumps({**asdict(_RECORD), "pid": each}).encode() for each in EDGES]


@asynccontextmanager
async def _small_files(folder: Path) -> AsyncIterator[Check]:
    def check(data: bytes) -> None:
        (folder / "starts").write_bytes(data)
        record, starts = read_starts(folder / "starts")
        assert record is not None or starts == []
        (folder / "credential").write_bytes(data)
        try:
            found = enrolment.load(folder)
        except EnrolmentError:
            return
        assert found is not None
        assert all(isinstance(each, str) for each in asdict(found).values())

    yield check


TARGETS = [
    plain("journal", journals, _journal),
    plain("launcher", st.tuples(frames, cuts), _frames),
    Target(
        name="agent_files",
        inputs=damaged([_STARTS.encode(), _CREDENTIAL.encode(), *_NUMBERS])
        | st.sampled_from([_DEEP, b'{"a":' * 30_000, b"9" * 30_000]),
        opened=_small_files,
    ),
]
