"""Messages of ended executions, kept: lists show the same ones again and again.

An ended execution changes no more, but its group may be renamed and its agent deleted: both are
part of the key. Messages are shared: whoever gets one does not change it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kronforce.core.lifecycle import TERMINAL
from kronforce.store.executions import Mark
from kronforce.v1.execution_pb2 import Execution

# Fifty pages; a message is some 1.5 KB. The oldest go first. One with large outputs is rare, and
# made each time.
MAX_KEPT = 5_000
MAX_BYTES = 8 << 10


class Ended:
    """The kept messages, by what a list's mark says."""

    def __init__(self) -> None:
        self._kept: dict[Mark, Execution] = {}

    def of(self, marks: Iterable[Mark]) -> list[Execution | None]:
        """Each one's, None where it is not kept."""
        return list(map(self._kept.get, marks))

    def keep(self, mark: Mark, message: Execution) -> None:
        """Keep it, if it has ended and is not large."""
        if mark.state not in TERMINAL or message.ByteSize() > MAX_BYTES:
            return
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[mark] = message
