"""Output in a result is held to a limit without a silent gap."""

from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.inline_output import within_limit
from kronforce.v1.execution_pb2 import OutputChunk, OutputStream

OUT, ERR = OutputStream.OUTPUT_STREAM_STDOUT, OutputStream.OUTPUT_STREAM_STDERR


def written(pieces):
    offsets = {OUT: 0, ERR: 0}
    chunks = []
    for sequence, (stream, data) in enumerate(pieces, start=1):
        chunks.append(
            OutputChunk(stream=stream, offset=offsets[stream], data=data, sequence=sequence)
        )
        offsets[stream] += len(data)
    return chunks, offsets


PIECES = st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=40)))


@given(PIECES, st.integers(0, 200))
def test_what_is_kept_is_within_the_limit_and_what_is_dropped_is_told(pieces, limit):
    chunks, ends = written(pieces)
    kept = within_limit(chunks, limit)
    assert sum(len(each.data) for each in kept) == min(limit, sum(ends.values()))
    for stream, end in ends.items():
        at = 0
        whole = b"".join(data for of, data in pieces if of == stream)
        for each in (chunk for chunk in kept if chunk.stream == stream):
            assert each.offset == at
            assert each.data == whole[at : at + len(each.data)]
            at += len(each.data) + each.gap_bytes
        assert at == end


def test_head_and_tail_stay():
    chunks, _ = written([(OUT, b"begin-middle-end!")])
    assert [each.data for each in within_limit(chunks, 9)] == [b"begi", b"", b"-end!"]


def test_nothing_changes_within_the_limit():
    chunks, _ = written([(OUT, b"ab"), (ERR, b"c")])
    assert within_limit(chunks, 3) == chunks
