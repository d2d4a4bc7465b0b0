"""What the cap keeps, over sizes of rows and caps."""

from hypothesis import given
from hypothesis import strategies as st

from kronforce.engine.output_cap import PIECES, Capped

KEY, AT = 7, 1_000

# (stream, bytes): 0 is a gap.
ROWS = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 300)), max_size=6)
BATCHES = st.lists(ROWS, max_size=12)


class Stored:
    """A store of one execution's rows, and everything that was ever written."""

    def __init__(self, cap):
        self.cap = cap
        self.capped = Capped()
        self.rows = []
        self.written = bytearray()
        self._starts = {1: 0, 2: 0}
        self._sequence = 0

    def batch(self, sizes):
        rows = []
        for stream, size in sizes:
            self._sequence += 1
            data = bytes((len(self.written) + at) % 251 for at in range(size))
            self.written += data
            rows.append((KEY, stream, self._starts[stream], size or 5, self._sequence, AT,
                         data or None))  # fmt: skip
            self._starts[stream] += size or 5
        return rows

    def write(self, rows):
        taken = self.capped.take(rows, self.cap)
        self.rows += taken.store
        gone = {piece[:3] for piece in taken.delete}
        kept = [row for row in self.rows if (row[4], row[1], row[2]) not in gone]
        assert len(self.rows) - len(kept) == len(taken.delete)
        self.rows = kept

    def restart(self):
        """As `head_and_tail` reads it."""
        head, tail = 0, []
        for row in self.rows:
            size = len(row[6] or b"")
            if head + size <= self.cap // 2 and not tail:
                head += size
            else:
                tail.append((row[4], row[1], row[2], size))
        self.capped = Capped(head, tail, self.capped.dropped)

    def kept(self):
        return b"".join(row[6] or b"" for row in self.rows)


def check(stored):
    half = stored.cap // 2
    kept, written = stored.kept(), bytes(stored.written)
    assert stored.capped.dropped == len(written) - len(kept)
    if len(written) <= 2 * half:
        # Nothing has to go; little may have, where a tail is given up piece by piece.
        assert len(kept) >= len(written) - max(1, half // PIECES)
    assert len(kept) <= stored.cap
    assert kept[:half] == written[:half]
    tail = kept[half:]
    assert written.endswith(tail)
    assert len(tail) > min(half, len(written) - half) - max(1, half // PIECES)
    assert all(len(row[6]) == row[3] for row in stored.rows if row[6] is not None)


@given(BATCHES, st.integers(0, 2_000), st.data())
def test_the_first_half_is_kept_to_the_byte_and_the_last_to_within_a_piece(batches, cap, data):
    stored = Stored(cap)
    for sizes in batches:
        rows = stored.batch(sizes)
        if data.draw(st.booleans(), label="fails first"):
            before = (stored.capped.head_bytes, stored.capped.tail_bytes, list(stored.capped.tail),
                      stored.capped.dropped)  # fmt: skip
            stored.capped.take_back(stored.capped.take(rows, cap))
            assert before == (stored.capped.head_bytes, stored.capped.tail_bytes,
                              list(stored.capped.tail), stored.capped.dropped)  # fmt: skip
        stored.write(rows)
        check(stored)
        if data.draw(st.booleans(), label="restart"):
            stored.restart()


@given(st.integers(1, 3_000), st.integers(1, 500))
def test_below_its_half_output_is_stored_as_it_came(cap, size):
    stored = Stored(cap)
    rows = stored.batch([(1, size)])
    stored.write(rows)
    if size <= cap // 2:
        assert stored.rows == rows
        assert not stored.capped.tail


def test_what_no_tail_would_hold_is_never_stored():
    capped = Capped()
    rows = [(KEY, 1, at * 1_000, 1_000, at + 1, AT, b"x" * 1_000) for at in range(100)]
    taken = capped.take(rows, 1_600)
    assert not taken.delete
    assert sum(row[3] for row in taken.store) == 1_600
    assert len(taken.store) <= 1 + PIECES + 2
