import hashlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import output
from kronforce_agent.output import CHUNK_BYTES, WINDOW_BYTES, Chunk, OutputBuffer, OutputRouter

KEY = ("execution", 1)


class Source:
    """Writes like a launcher: a sequence over both streams, an offset per stream."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.granted: list[int] = []
        self.acked: list[int] = []
        self.router = OutputRouter(lambda _secs, call: self.timers.append(call))
        self.offsets = {1: 0, 2: 0}
        self.sequence = 0
        self.buffer: OutputBuffer

    def open(self, key: tuple[str, int] = KEY) -> "Source":
        self.buffer = self.router.open(key, self.granted.append, self.acked.append)
        return self

    def write(self, data: bytes, stream: int = 1, gap: int = 0) -> Chunk:
        self.sequence += 1
        chunk = Chunk(
            stream=stream,
            offset=self.offsets[stream],
            sequence=self.sequence,
            at_micros=0,
            parts=[data],
            size=len(data),
            gap=gap,
        )
        self.offsets[stream] += len(data) + gap
        self.router.receive(self.buffer, chunk)
        return chunk

    def ring(self) -> None:
        """The moment for which first bytes are held back has passed."""
        timers, self.timers = self.timers, []
        for call in timers:
            call()

    def sent(self) -> list[tuple[int, int, bytes]]:
        """Everything that goes to the stream now: stream, offset, data."""
        found = []
        while outputs := self.router.next_frame():
            for each in outputs:
                found += [(chunk.stream, chunk.offset, chunk.data) for chunk in each.chunks]
        return found

    def progress(self, stored: int, credit: int) -> None:
        self.router.progress(
            pb.OutputProgress(execution_id=KEY[0], stored_sequence=stored, credit_bytes=credit)
        )


def online(credit: int = 1_000_000) -> Source:
    source = Source()
    source.router.start_session(credit)
    return source.open()


def test_the_first_bytes_wait_for_the_exit_and_then_go() -> None:
    source = online()
    source.write(b"hello")
    assert source.sent() == []
    source.ring()
    assert source.sent() == [(1, 0, b"hello")]


def test_a_short_runs_output_is_taken_for_its_result() -> None:
    source = online()
    source.write(b"out")
    source.write(b"err", stream=2)
    chunks = source.router.take_inline(source.buffer, 2)
    assert chunks is not None
    assert [(chunk.stream, chunk.parts) for chunk in chunks] == [(1, [b"out"]), (2, [b"err"])]
    source.ring()
    assert source.sent() == []


def test_what_is_not_whole_or_was_sent_goes_by_the_stream() -> None:
    source = online()
    source.write(b"half")
    assert source.router.take_inline(source.buffer, 2) is None
    assert source.sent() == [(1, 0, b"half")]
    source.write(b"rest")
    assert source.router.take_inline(source.buffer, 2) is None
    assert source.sent() == [(1, 4, b"rest")]


def test_more_than_fits_in_a_result_is_not_held_back() -> None:
    source = online()
    source.write(b"x" * 10_000)
    source.write(b"x" * 10_000)
    assert [len(data) for _, _, data in source.sent()] == [20_000]


def test_small_writes_are_merged_and_large_ones_are_not() -> None:
    source = online()
    for _ in range(100):
        source.write(b"x" * 1000)
    source.ring()
    sizes = [len(data) for _, _, data in source.sent()]
    assert sizes == [65_000, 35_000]
    assert max(sizes) <= CHUNK_BYTES


def test_streams_are_never_merged_over_each_other() -> None:
    source = online()
    source.write(b"a")
    source.write(b"b", stream=2)
    source.write(b"c")
    source.ring()
    assert source.sent() == [(1, 0, b"a"), (2, 0, b"b"), (1, 1, b"c")]


def test_without_credit_nothing_is_sent() -> None:
    source = online(credit=10)
    source.write(b"x" * 10)
    source.ring()
    assert len(source.sent()) == 1
    source.write(b"y" * 5)
    assert source.sent() == []
    source.progress(1, 5)
    assert source.sent() == [(1, 10, b"yyyyy")]


def test_the_source_gets_no_more_credit_than_the_controller_gave() -> None:
    source = online(credit=100_000)
    source.router.top_up(source.buffer)
    assert source.granted == [100_000]
    source.write(b"x" * 60_000)
    source.ring()
    source.sent()
    source.router.top_up(source.buffer)
    assert sum(source.granted) == 100_000
    source.progress(1, 50_000)
    assert sum(source.granted) == 150_000


def test_however_much_the_controller_grants_the_window_bounds_what_is_held() -> None:
    source = online(credit=1 << 40)
    source.router.top_up(source.buffer)
    assert sum(source.granted) == WINDOW_BYTES


def test_offline_the_source_gets_no_credit() -> None:
    source = Source().open()
    source.router.top_up(source.buffer)
    assert source.granted == []
    assert source.router.initial_credit == 0


def test_what_is_stored_is_told_to_the_source_once() -> None:
    source = online()
    source.write(b"x")
    source.ring()
    source.sent()
    source.progress(1, 0)
    source.progress(1, 0)
    assert source.acked == [1]


def test_a_new_session_gets_the_same_chunks_again_in_order() -> None:
    source = online()
    source.write(b"x" * CHUNK_BYTES)
    source.write(b"y" * CHUNK_BYTES)
    source.ring()
    first = source.sent()
    source.progress(1, 0)
    source.router.end_session()
    source.write(b"z")
    source.router.start_session(1_000_000)
    again = source.sent()
    assert again == [*first[1:], (1, 2 * CHUNK_BYTES, b"z")]


def test_what_was_sent_is_not_changed_by_merging_when_it_goes_again() -> None:
    source = online()
    source.write(b"a")
    source.ring()
    source.sent()
    source.router.end_session()
    source.router.start_session(1_000_000)
    source.write(b"b")
    assert source.sent() == [(1, 0, b"a"), (1, 1, b"b")]


def test_chunks_that_came_before_are_ignored_when_they_come_again() -> None:
    source = online()
    chunk = source.write(b"once")
    source.router.receive(source.buffer, chunk)
    source.ring()
    assert source.sent() == [(1, 0, b"once")]


def test_a_gap_needs_no_credit() -> None:
    source = online(credit=1)
    source.write(b"xx")
    source.ring()
    source.sent()
    source.write(b"", gap=1000)
    assert source.sent() == [(1, 2, b"")]
    assert source.buffer.ends == {1: 1002, 2: 0}


def test_a_flood_leaves_room_for_others_in_each_frame() -> None:
    source = online(credit=1 << 30)
    for _ in range(64):
        source.write(b"x" * CHUNK_BYTES)
    flood, small = source.buffer, source.open(("small", 2))
    small.sequence, small.offsets = 0, {1: 0, 2: 0}
    small.write(b"small")
    small.ring()
    frame = source.router.next_frame()
    assert [each.execution_id for each in frame][:2] == ["execution", "small"]
    assert sum(each.ByteSize() for each in frame) < 1024 * 1024
    assert flood.unsent


def test_a_frame_holds_a_bounded_number_of_executions() -> None:
    source = Source()
    source.router.start_session(1000)
    for number in range(output.FRAME_EXECUTIONS + 50):
        source.open((f"e{number}", number))
        source.sequence, source.offsets = 0, {1: 0, 2: 0}
        source.write(b"x")
    source.ring()
    assert len(source.router.next_frame()) == output.FRAME_EXECUTIONS
    assert len(source.router.next_frame()) == 50


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(1, 2), st.binary(min_size=1, max_size=50)),
            st.just("send"),
            st.just("ack"),
            st.just("reconnect"),
        ),
        max_size=60,
    )
)
def test_whatever_happens_each_stream_arrives_whole(steps: list[object]) -> None:
    source = online(credit=1000)
    source.router.release(source.buffer)
    written = {1: b"", 2: b""}
    stored = {1: b"", 2: b""}
    sequence = 0

    def send() -> None:
        nonlocal sequence
        while outputs := source.router.next_frame():
            for chunk in (chunk for each in outputs for chunk in each.chunks):
                skip = len(stored[chunk.stream]) - chunk.offset
                assert skip >= 0
                stored[chunk.stream] += chunk.data[skip:]
                sequence = max(sequence, chunk.sequence)

    for step in steps:
        if isinstance(step, tuple):
            _, stream, data = step
            written[stream] += data
            source.write(data, stream=stream)
        elif step == "send":
            send()
        elif step == "ack":
            source.progress(sequence, 1000)
        else:
            source.router.end_session()
            source.router.start_session(1000)
    for _ in range(len(steps) + 2):
        send()
        source.progress(sequence, 1000)
    assert {s: hashlib.sha256(d).digest() for s, d in stored.items()} == {
        s: hashlib.sha256(d).digest() for s, d in written.items()
    }
    assert not source.buffer.unacked
