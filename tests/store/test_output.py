"""Streamed output, on both stores."""

import pytest
import sqlalchemy as sa

from kronforce.store import output, tables
from kronforce.store.dialect import insert
from kronforce.store.hot.output_apply import DROP_CHUNK
from tests.store.rows import NOW

OUT, ERR = 1, 2

_INSERT = insert(
    tables.output_chunks, "execution_key", "stream", "start", "length", "sequence", "at", "data"
)


@pytest.fixture
def tx(output_tx):
    return output_tx


def store(tx, *rows, execution_key=1):
    """Rows of (stream, start, data or length of a gap), in order."""
    values = []
    for sequence, (stream, start, data) in enumerate(rows, 1):
        gap = isinstance(data, int)
        length = data if gap else len(data)
        kept = None if gap else data
        values.append((execution_key, stream, start, length, sequence, NOW + sequence, kept))
    tx.run(_INSERT, values)


def texts(rows):
    return [row.data for row in rows]


def test_both_streams_are_read_in_the_order_in_which_they_were_written(tx):
    store(tx, (OUT, 0, b"a"), (ERR, 0, b"b"), (OUT, 1, b"c"))
    store(tx, (OUT, 0, b"other"), execution_key=2)

    rows = output.read_chunks(tx, 1, 0, 1_000)

    assert texts(rows) == [b"a", b"b", b"c"]
    assert [(row.stream, row.start, row.sequence) for row in rows] == [
        (OUT, 0, 1), (ERR, 0, 2), (OUT, 1, 3),
    ]  # fmt: skip
    assert texts(output.read_chunks(tx, 1, 2, 1_000)) == [b"c"]
    assert output.read_chunks(tx, 1, 3, 1_000) == []


def test_a_read_ends_at_its_limit_but_always_gets_on(tx):
    store(tx, (OUT, 0, b"1234"), (OUT, 4, b"5678"), (OUT, 8, b"9"))

    assert texts(output.read_chunks(tx, 1, 0, 8)) == [b"1234", b"5678"]
    assert texts(output.read_chunks(tx, 1, 0, 7)) == [b"1234"]
    assert texts(output.read_chunks(tx, 1, 0, 1)) == [b"1234"]


def test_rows_that_share_a_sequence_are_read_together_and_dropped_apart(tx):
    same = [(1, OUT, start, 2, 7, NOW, b"ab") for start in (0, 2, 4)]
    tx.run(_INSERT, [*same, (1, ERR, 2, 2, 7, NOW, b"xy"), (1, OUT, 6, 2, 8, NOW, b"cd")])

    first = output.read_chunks(tx, 1, 0, 2)
    assert [row.start for row in first if row.stream == OUT] == [0, 2, 4]
    assert texts(output.read_chunks(tx, 1, 7, 100)) == [b"cd"]
    assert output.head_and_tail(tx, 1, 4)[1][0] == (7, OUT, 4, 2)

    tx.run(DROP_CHUNK, [(1, 7, OUT, 2)])
    left = [(row.stream, row.start) for row in output.read_chunks(tx, 1, 0, 100)]
    assert left == [(OUT, 0), (OUT, 4), (ERR, 2), (OUT, 6)]


def test_a_gap_takes_no_room_in_a_read(tx):
    store(tx, (OUT, 0, b"a"), (OUT, 1, 10**9), (OUT, 1 + 10**9, b"z"))

    rows = output.read_chunks(tx, 1, 0, 10)

    assert texts(rows) == [b"a", None, b"z"]
    assert rows[1].length == 10**9


def test_one_stream_is_read_from_the_row_that_holds_an_offset(tx):
    store(tx, (OUT, 0, b"abc"), (ERR, 0, b"xyz"), (OUT, 3, b"def"), (OUT, 100, b"end"))

    assert texts(output.read_stream(tx, 1, OUT, 0, 100)) == [b"abc", b"def", b"end"]
    assert texts(output.read_stream(tx, 1, OUT, 4, 100)) == [b"def", b"end"]
    assert texts(output.read_stream(tx, 1, OUT, 6, 100)) == [b"end"]
    assert texts(output.read_stream(tx, 1, ERR, 0, 100)) == [b"xyz"]
    assert output.read_stream(tx, 1, ERR, 3, 100) == []


def test_reading_goes_on_from_offsets_of_both_streams_without_missing_a_byte(tx):
    store(tx, (OUT, 0, b"ab"), (ERR, 0, b"xy"), (OUT, 2, b"cd"), (ERR, 2, b"z"))

    assert output.sequence_before(tx, 1, {OUT: 0, ERR: 0}) == 0
    assert output.sequence_before(tx, 1, {OUT: 2, ERR: 1}) == 1
    assert output.sequence_before(tx, 1, {OUT: 4, ERR: 2}) == 3
    assert output.sequence_before(tx, 1, {OUT: 4, ERR: 3}) == 4
    assert output.sequence_before(tx, 9, {OUT: 4}) == 0


def test_the_head_ends_at_its_limit_and_at_the_first_gap(tx):
    store(tx, (OUT, 0, b"abc"), (OUT, 3, b"def"), (ERR, 0, b"x"), (ERR, 5, b"y"))

    whole = output.head(tx, 1, OUT, 6)
    cut = output.head(tx, 1, OUT, 5)
    holed = output.head(tx, 1, ERR, 100)

    assert (whole.data, whole.truncated) == (b"abcdef", False)
    assert (cut.data, cut.truncated) == (b"abcde", True)
    assert (holed.data, holed.truncated) == (b"x", True)
    assert output.head(tx, 9, OUT, 5) == output.OutputHead(data=b"", truncated=False)


def test_a_head_that_is_cut_between_rows_says_so(tx):
    store(tx, (OUT, 0, b"abc"), (OUT, 3, b"defgh"))

    at_the_edge, inside = output.head(tx, 1, OUT, 3), output.head(tx, 1, OUT, 4)

    assert (at_the_edge.data, at_the_edge.truncated) == (b"abc", True)
    assert (inside.data, inside.truncated) == (b"abcd", True)


def test_a_head_of_many_small_rows_is_whole_or_says_so(tx, monkeypatch):
    monkeypatch.setattr(output, "READ_ROWS", 2)
    store(tx, *((OUT, number, b"x") for number in range(5)))

    assert output.head(tx, 1, OUT, 9) == output.OutputHead(data=b"x" * 5, truncated=False)
    monkeypatch.setattr(output, "HEAD_READS", 2)
    assert output.head(tx, 1, OUT, 9) == output.OutputHead(data=b"x" * 4, truncated=True)


def test_output_is_deleted_in_bounded_steps_with_its_progress(tx):
    for key in (1, 2, 3):
        store(tx, (OUT, 0, b"a"), (OUT, 1, b"b"), execution_key=key)
        tx.conn.execute(
            sa.insert(tables.output_progress).values(
                execution_key=key, sequence=2, stdout_bytes=2, stderr_bytes=0, stored_bytes=2,
                dropped_bytes=0,
            )
        )  # fmt: skip

    assert output.progress_of(tx, [1, 9]).keys() == {1}
    assert [output.delete_output(tx, [1, 2], 3) for _ in range(3)] == [3, 1, 0]
    assert output.progress_of(tx, [1, 2, 3]).keys() == {3}
    assert texts(output.read_chunks(tx, 3, 0, 10)) == [b"a", b"b"]


def test_a_read_ends_after_a_bounded_number_of_rows(tx, monkeypatch):
    monkeypatch.setattr(output, "READ_ROWS", 2)
    store(tx, *((OUT, number, b"x") for number in range(3)))

    assert len(output.read_chunks(tx, 1, 0, 100)) == 2
