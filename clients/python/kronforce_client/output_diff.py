"""The difference between two outputs as a unified diff of bytes, within named sizes."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Iterator, Sequence

from kronforce_client.lines import LINE_MAX_BYTES, OutputLine

# Both sides are held in memory, and finding the shortest difference is quadratic in lines that
# differ: beyond this a tool made for it does better.
DIFF_MAX_BYTES = 8 * 1024 * 1024
DIFF_MAX_LINES = 50_000


class OutputTooLarge(ValueError):
    """An output is too large to be compared here: save both and compare the files."""


async def collect(lines: AsyncIterator[OutputLine], name: str) -> Sequence[bytes]:
    """The lines of one side; raises OutputTooLarge as soon as it is known."""
    kept: list[bytes] = []
    size = 0
    async for line in lines:
        if line.missing:
            kept.append(b"[%d bytes are missing here]" % line.missing)
        kept.append(line.data)
        size += len(line.data) + 1
        if size > DIFF_MAX_BYTES or len(kept) > DIFF_MAX_LINES:
            raise OutputTooLarge(
                f"the output of {name} is longer than can be compared here "
                f"({DIFF_MAX_BYTES // 2**20} MiB, {DIFF_MAX_LINES:,} lines, "
                f"{LINE_MAX_BYTES // 1024} KiB a line)"
            )
    return kept


def unified(
    first: Sequence[bytes], second: Sequence[bytes], names: tuple[str, str]
) -> Iterator[bytes]:
    """The lines of a unified diff, without newlines; none where both are the same."""
    old, new = (name.encode() for name in names)
    return difflib.diff_bytes(difflib.unified_diff, first, second, old, new, lineterm=b"")
