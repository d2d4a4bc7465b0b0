"""One reader of an execution's output: with all others where it can, by itself where it must.

Who begins elsewhere than the feed stands, or was too slow for what it keeps, reads from the store
by a call of its own, up to exactly the place where the feed stood when it entered; from there the
feed goes on. Both are cut at the same bytes, so nothing is missing and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from kronforce.api.transport import Replies
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce_gateway.live import wire
from kronforce_gateway.live.connection import Connection
from kronforce_gateway.live.encoders import STDOUT, Output, Place
from kronforce_gateway.live.feeds import Cursor, Feed

# No output is as long.
_NOWHERE = (1 << 62, 1 << 62)

# Opens a call of ReadOutput that begins at a place.
Open = Callable[[Place], Replies]


class Follower:
    """Writes output to one connection until it ends; `place` is how far that has come."""

    def __init__(
        self, connection: Connection, open_at: Open, *, start: Place, base64: bool
    ) -> None:
        self._connection = connection
        self._open_at = open_at
        self._base64 = base64
        self._finished = False
        self.place = start

    async def follow(self, feed: Feed, cursor: Cursor) -> None:
        """Return at the end. Raises CallFailed, Stalled."""
        while True:
            try:
                await self._from(feed, cursor)
            finally:
                feed.leave(cursor)
            if self._finished:
                return
            cursor = feed.enter()

    async def _from(self, feed: Feed, cursor: Cursor) -> None:
        if not _covers(cursor.place, self.place):
            await self._ahead(feed)
            return
        if cursor.place != self.place:
            await self._reach(cursor.place)
        if not self._finished:
            await self._share(feed, cursor)

    async def _share(self, feed: Feed, cursor: Cursor) -> None:
        """Read what the feed has, to its end or as long as it keeps what is wanted."""
        while (pages := feed.pages(cursor)) is not None:
            if pages:
                await self._connection.write(page.text for page in pages)
                self.place = pages[-1].place
            elif feed.ended:
                if feed.failure is not None:
                    raise feed.failure
                self._finished = True
                return
            else:
                await feed.changed()

    async def _reach(self, goal: Place) -> None:
        """Read alone to exactly this place, or to the end."""
        encoder = Output(base64=self._base64, start=self.place)
        reached = list(self.place)
        while tuple(reached) != goal and await self._step(encoder, goal, reached):
            pass
        await self._connection.write(encoder.rest())
        self.place = encoder.place

    async def _ahead(self, feed: Feed) -> None:
        """Read alone until the feed has come as far, or to the end."""
        encoder = Output(base64=self._base64, start=self.place)
        reached = list(self.place)
        while not _covers(feed.place, self.place):
            if not await self._step(encoder, _NOWHERE, reached):
                await self._connection.write(encoder.rest())
                self.place = encoder.place
                return
        # What is held back of a character is read again.

    async def _step(self, encoder: Output, goal: Place, reached: list[int]) -> bool:
        """Write what comes next before the goal; False: nothing comes any more.

        The call ends before the reader is written to: one that is slow holds one frame, not all
        that a call would have ready for it.
        """
        async with self._open_at((reached[0], reached[1])) as replies:
            reply = await anext(replies, None)
        if reply is None:
            self._finished = True
            return False
        await self._connection.write(_parts(encoder, reply, goal, reached))
        self.place = encoder.place
        return True


def _parts(encoder: Output, reply: Message, goal: Place, reached: list[int]) -> Iterator[bytes]:
    """Made as they are written."""
    chunks = _chunks(reply)
    if not chunks:
        yield wire.HEARTBEAT
    for chunk in chunks:
        part = _before(chunk, goal, reached)
        if part is not None:
            yield from encoder.chunk(part)


def _chunks(reply: Any) -> Sequence[OutputChunk]:
    found: Sequence[OutputChunk] = reply.chunks
    return found


def _covers(feed: Place, reader: Place) -> bool:
    return feed[0] >= reader[0] and feed[1] >= reader[1]


def _before(chunk: OutputChunk, goal: Place, reached: list[int]) -> OutputChunk | None:
    """The part of a chunk before the goal; None: nothing of it. Counts what was reached."""
    at = 0 if chunk.stream == STDOUT else 1
    end = chunk.offset + (len(chunk.data) or chunk.gap_bytes)
    reached[at] = max(reached[at], min(end, goal[at]))
    if chunk.offset >= goal[at]:
        return None
    if end <= goal[at]:
        return chunk
    cut = OutputChunk(stream=chunk.stream, offset=chunk.offset, sequence=chunk.sequence)
    if chunk.HasField("at"):
        cut.at.CopyFrom(chunk.at)
    if chunk.data:
        cut.data = chunk.data[: goal[at] - chunk.offset]
    else:
        cut.gap_bytes = goal[at] - chunk.offset
    return cut
