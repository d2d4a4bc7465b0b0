from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.backlog import Backlog
from kronforce_agent.launcher.protocol import STDERR, STDOUT, Output
from kronforce_agent.launcher.sections import MemoryBudget
from kronforce_agent.launcher.spool import Spool

NO_MEMORY = 0
PLENTY = 1 << 30


def backlog(folder: Path, *, memory: int = PLENTY, disk: int = PLENTY) -> tuple[Backlog, Spool]:
    spool = Spool(folder / "spool", disk)
    return Backlog("e-1", 1, spool, MemoryBudget(memory)), spool


def sent(log: Backlog) -> list[Output]:
    chunks = []
    while log.has_unsent:
        frame = log.next().frame
        chunk = protocol.decode(frame, 4, len(frame))
        assert isinstance(chunk, Output)
        chunks.append(chunk)
    return chunks


def assert_contiguous(chunks: list[Output], ends: dict[int, int]) -> None:
    at = {STDOUT: 0, STDERR: 0}
    seq = 0
    for chunk in chunks:
        assert chunk.seq > seq
        assert chunk.offset == at[chunk.stream]
        seq = chunk.seq
        at[chunk.stream] += chunk.gap or len(chunk.data)
    assert at == ends


def test_chunks_come_out_in_order_with_offsets_by_stream(tmp_path: Path) -> None:
    log, _ = backlog(tmp_path)
    log.append(STDOUT, b"ab", 1)
    log.append(STDERR, b"x", 2)
    log.append(STDOUT, b"c", 3)

    chunks = sent(log)

    assert [(c.seq, c.stream, c.offset, c.data) for c in chunks] == [
        (1, STDOUT, 0, b"ab"),
        (2, STDERR, 0, b"x"),
        (3, STDOUT, 2, b"c"),
    ]


@pytest.mark.parametrize("memory", [PLENTY, NO_MEMORY], ids=["memory", "disk"])
def test_a_new_connection_gets_what_is_not_acknowledged(tmp_path: Path, memory: int) -> None:
    log, spool = backlog(tmp_path, memory=memory)
    for number in range(10):
        log.append(STDOUT, b"%d" % number, number)
    sent(log)

    log.ack(4)
    log.rewind()

    assert [c.data for c in sent(log)] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    assert log.resume_offsets() == {STDOUT: 4, STDERR: 0}
    log.ack(10)
    assert log.empty
    assert spool.used_bytes == 0
    assert not list((tmp_path / "spool").glob("*")) or memory == PLENTY


def test_output_goes_to_disk_when_memory_is_used_up_and_back_to_memory(tmp_path: Path) -> None:
    log, spool = backlog(tmp_path, memory=3000)
    for _ in range(20):
        log.append(STDOUT, b"x" * 500, 0)
    assert spool.used_bytes > 0
    first = sent(log)
    log.ack(first[-1].seq)
    assert spool.used_bytes == 0

    log.append(STDOUT, b"again", 0)

    assert spool.used_bytes == 0
    assert_contiguous(first + sent(log), log.ends)


def test_spool_files_are_private(tmp_path: Path) -> None:
    log, _ = backlog(tmp_path, memory=NO_MEMORY)
    log.append(STDOUT, b"x", 0)

    (file,) = (tmp_path / "spool").iterdir()

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_spool_drops_the_middle_and_says_how_much(tmp_path: Path) -> None:
    log, spool = backlog(tmp_path, memory=NO_MEMORY, disk=64_000)
    for number in range(1000):
        log.append(STDOUT if number % 3 else STDERR, b"%03d" % number * 100, number)

    chunks = sent(log)

    assert spool.used_bytes <= 64_000
    assert_contiguous(chunks, log.ends)
    assert chunks[0].data.startswith(b"000")
    assert chunks[-1].data.startswith(b"999")
    gaps = [chunk for chunk in chunks if chunk.gap]
    assert {gap.stream for gap in gaps} == {STDOUT, STDERR}
    assert len(gaps) == 2
    head = chunks.index(gaps[0])
    assert head > 20
    assert len(chunks) - head > 20


def test_the_one_who_holds_most_gives_way(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 64_000)
    flood = Backlog("flood", 1, spool, MemoryBudget(NO_MEMORY))
    quiet = Backlog("quiet", 1, spool, MemoryBudget(NO_MEMORY))
    for number in range(500):
        flood.append(STDOUT, b"f" * 300, number)
    for number in range(20):
        quiet.append(STDOUT, b"q" * 300, number)

    assert not any(chunk.gap for chunk in sent(quiet))
    assert any(chunk.gap for chunk in sent(flood))


def test_a_disk_that_cannot_be_written_makes_a_gap(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    log, _ = backlog(tmp_path, memory=NO_MEMORY)
    log.append(STDOUT, b"abc", 0)
    log.append(STDOUT, b"de", 0)

    chunks = sent(log)

    assert [(c.offset, c.gap, c.data) for c in chunks] == [(0, 5, b"")]


def test_deleting_gives_everything_back(tmp_path: Path) -> None:
    memory = MemoryBudget(2000)
    spool = Spool(tmp_path / "spool", PLENTY)
    log = Backlog("e-1", 1, spool, memory)
    for _ in range(20):
        log.append(STDERR, b"y" * 500, 0)

    log.delete()

    assert (memory.used_bytes, spool.used_bytes) == (0, 0)
    assert not spool.holders


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([STDOUT, STDERR]), st.integers(1, 400)),
        st.tuples(st.just("send"), st.integers(1, 10), st.just(0)),
        st.tuples(st.just("ack"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("rewind"), st.just(0), st.just(0)),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from([0, 2000, PLENTY]), st.sampled_from([3000, 20_000, PLENTY]))
def test_whatever_happens_the_receiver_can_put_the_streams_together(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int]],
    memory: int,
    disk: int,
) -> None:
    """Each byte of each stream arrives at its offset, or lies in a gap; nothing is skipped."""
    log, spool = backlog(tmp_path_factory.mktemp("log"), memory=memory, disk=disk)
    covered = {STDOUT: 0, STDERR: 0}
    received: list[Output] = []

    def receive(limit: int) -> None:
        while limit and log.has_unsent:
            frame = log.next().frame
            chunk = protocol.decode(frame, 4, len(frame))
            assert isinstance(chunk, Output)
            assert chunk.offset <= covered[chunk.stream]
            end = chunk.offset + (chunk.gap or len(chunk.data))
            covered[chunk.stream] = max(covered[chunk.stream], end)
            received.append(chunk)
            limit -= 1

    for what, number, size in steps:
        if what == "append":
            log.append(number, b"z" * size, 0)
        elif what == "send":
            receive(number)
        elif what == "ack" and received:
            log.ack(received[-1 - min(number, len(received) - 1)].seq)
        elif what == "rewind":
            log.rewind()
    receive(-1)

    assert covered == log.ends
    assert spool.used_bytes <= disk
    log.ack(log.last_seq)
    assert log.empty
    assert spool.used_bytes == 0


def test_a_segment_that_is_not_what_was_written_is_a_gap_and_kept_aside(tmp_path: Path) -> None:
    log, spool = backlog(tmp_path, memory=NO_MEMORY)
    for number in range(1, 6):
        log.append(STDOUT, b"%d" % number * 100, number)
    (file,) = (tmp_path / "spool").iterdir()
    content = bytearray(file.read_bytes())
    content[content.index(b"333")] ^= 1
    file.write_bytes(bytes(content))

    chunks = sent(log)

    assert [chunk.data[:1] for chunk in chunks] == [b"1", b"2", b""]
    # What was sent already is in it again: whoever stores output trims that.
    assert (chunks[-1].offset, chunks[-1].gap) == (0, 500)
    assert spool.used_bytes == 0
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.read_bytes() == bytes(content)


@pytest.mark.parametrize("acked", [0, 1])
def test_a_connection_that_comes_back_to_a_damaged_segment_is_told_of_a_gap(
    tmp_path: Path, acked: int
) -> None:
    log, _ = backlog(tmp_path, memory=NO_MEMORY)
    for number in range(1, 6):
        log.append(STDOUT, b"%d" % number * 100, number)
    sent(log)
    log.ack(acked)
    (file,) = (tmp_path / "spool").iterdir()
    file.write_bytes(b"\xff" * file.stat().st_size)

    log.rewind()
    starts = log.resume_offsets()
    (gap,) = sent(log)

    assert (gap.offset, gap.gap, gap.seq) == (0, 500, 5)
    assert starts[STDOUT] == 0
    log.ack(5)
    assert log.empty
