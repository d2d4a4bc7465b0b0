"""One reader of an execution's output: with all others where it can, by itself where it must.

Who begins elsewhere than the feed stands, or was too slow for what it keeps, reads from the store
by a call of its own, up to exactly the place where the feed stood when it entered; from there the
feed goes on. Both are cut at the same bytes, so nothing is missing and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kronforce.api.transport import Replies
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce_gateway.live import wire
from kronforce_gateway.live.connection import Connection
from kronforce_gateway.live.encoders import STDOUT, Output, Place
from kronforce_gateway.live.feeds import Cursor, Feed

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
        """Read alone to exactly this place."""
        encoder = Output(base64=self._base64, start=self.place)
        reached = list(self.place)
        async with self._open_at(self.place) as replies:
            async for reply in replies:
                await self._write(encoder, (_before(c, goal, reached) for c in _chunks(reply)))
                if tuple(reached) == goal:
                    break
            else:
                self._finished = True
        await self._connection.write(encoder.rest())
        self.place = encoder.place

    async def _ahead(self, feed: Feed) -> None:
        """Read alone until the feed has come as far."""
        encoder = Output(base64=self._base64, start=self.place)
        async with self._open_at(self.place) as replies:
            async for reply in replies:
                await self._write(encoder, _chunks(reply))
                if _covers(feed.place, self.place):
                    # What is held back of a character is read again.
                    return
        await self._connection.write(encoder.rest())
        self.place = encoder.place
        self._finished = True

    async def _write(self, encoder: Output, chunks: Iterable[OutputChunk | None]) -> None:
        events = [event for chunk in chunks if chunk for event in encoder.chunk(chunk)]
        await self._connection.write(events or [wire.HEARTBEAT])
        self.place = encoder.place


def _chunks(reply: Any) -> Iterable[OutputChunk]:
    found: Iterable[OutputChunk] = reply.chunks
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
