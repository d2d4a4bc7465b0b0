"""Integer keys of rows, taken from the store in blocks so that inserting needs no round trip."""

from __future__ import annotations

from kronforce.errors import ResourceExhausted
from kronforce.store.hot.apply import take_counter
from kronforce.store.store import Store

# Keys a block holds, and how few may be left before the next is fetched. The largest single
# trigger (an `all` target with its agents) must fit into what is left.
BLOCK = 100_000
LOW = 50_000

COUNTER = "row_key"


class KeySource:
    """Call it for the next key; `fill` once before."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = 0
        self._end = 0
        self._spare: tuple[int, int] | None = None

    async def fill(self) -> None:
        """Fetch a block and wait for it."""
        first = await self._store.write(take_counter, COUNTER, BLOCK)
        block = (first, first + BLOCK)
        if self._next == self._end:
            self._next, self._end = block
        else:
            self._spare = block

    def __call__(self) -> int:
        if self._next == self._end:
            self._use_spare()
        key = self._next
        self._next += 1
        return key

    def _use_spare(self) -> None:
        if self._spare is None:
            raise ResourceExhausted("the server is out of row keys for a moment: try again")
        (self._next, self._end), self._spare = self._spare, None

    @property
    def wants_block(self) -> bool:
        """Whether `fill` should be called soon."""
        return self._spare is None and self._end - self._next < LOW
