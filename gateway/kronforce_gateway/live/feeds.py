"""One call for all who follow one execution's output with one key: read once, encoded once.

A feed keeps what its readers have not had yet, up to `KEPT_BYTES`. A reader is a cursor into that,
so a slow one costs nothing but its place: what it misses there it reads from the store by a call of
its own (`following.py`). The feed waits for its fastest reader and for no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kronforce.api.transport import CallFailed, Replies
from kronforce_gateway.live import wire
from kronforce_gateway.live.connection import WRITE_BYTES
from kronforce_gateway.live.encoders import Output, Place

# Of one feed, for those of its readers that are not the fastest; what all have had is not kept.
KEPT_BYTES = 1 << 20
# A page of it is written at once.
PAGE_BYTES = 32 << 10
# Between two wakes of the readers: what comes meanwhile goes out in one write each. The first byte
# after a pause wakes them at once.
PACE_SECS = 0.02


@dataclass(frozen=True, slots=True)
class Page:
    """Events, and the place behind them."""

    text: bytes
    place: Place


class Cursor:
    """How far one reader is: the number of the next page that it wants, and where it entered."""

    __slots__ = ("at", "place")

    def __init__(self, at: int, place: Place) -> None:
        self.at = at
        self.place = place


class Feed:
    """Pages of one stream of output, as they come."""

    def __init__(self, encoder: Output) -> None:
        self._encoder = encoder
        self._pages: deque[Page] = deque()
        self._size = 0
        # The number of the first page that is kept.
        self._first = 0
        self._cursors: set[Cursor] = set()
        self._changed = asyncio.Event()
        self._read = asyncio.Event()
        self._woken_at = 0.0
        self._wake: asyncio.TimerHandle | None = None
        self.place: Place = encoder.place
        self.ended = False
        self.failure: CallFailed | None = None

    @property
    def next(self) -> int:
        """The number of the page that comes next."""
        return self._first + len(self._pages)

    def enter(self) -> Cursor:
        """A cursor at the end: what comes from now on is kept for it, if that is not too much."""
        cursor = Cursor(self.next, self.place)
        self._cursors.add(cursor)
        return cursor

    def leave(self, cursor: Cursor) -> None:
        self._cursors.discard(cursor)
        self._read.set()

    def pages(self, cursor: Cursor) -> list[Page] | None:
        """What came since, some of it, now read; None: it is not kept any more."""
        if cursor.at < self._first:
            return None
        found: list[Page] = []
        size = 0
        while cursor.at < self.next and size < WRITE_BYTES:
            found.append(self._pages[cursor.at - self._first])
            size += len(found[-1].text)
            cursor.at += 1
        if found:
            self._read.set()
        return found

    async def changed(self) -> None:
        """Wait until there is more, or the end."""
        if not self.ended:
            await self._changed.wait()

    async def begun(self, within: float) -> None:
        """Wait for the first of it, or the end, but not for long."""
        if not self.next:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed(), within)

    async def fill(self, replies: AsyncIterator[Any]) -> None:
        """Take everything to the end. Raises CallFailed."""
        async for reply in replies:
            for page in self._paged(reply):
                await self._add(page)
        rest = b"".join(self._encoder.rest())
        if rest:
            await self._add(Page(rest, self._encoder.place))

    def end(self) -> None:
        """Nothing follows; `failure` says why, where that is not the end of the execution."""
        self.ended = True
        self._tell()

    def _paged(self, reply: Any) -> Iterable[Page]:
        if not reply.chunks:
            yield Page(wire.HEARTBEAT, self.place)
        waiting: list[bytes] = []
        size = 0
        for chunk in reply.chunks:
            for event in self._encoder.chunk(chunk):
                waiting.append(event)
                size += len(event)
            if size >= PAGE_BYTES:
                yield Page(b"".join(waiting), self._encoder.place)
                waiting, size = [], 0
        if waiting:
            yield Page(b"".join(waiting), self._encoder.place)

    async def _add(self, page: Page) -> None:
        self._drop(min((cursor.at for cursor in self._cursors), default=self.next))
        while self._size >= KEPT_BYTES:
            fastest = max((cursor.at for cursor in self._cursors), default=self.next)
            if fastest == self._first:
                # Nobody has had anything of this.
                self._tell()
                self._read.clear()
                await self._read.wait()
            else:
                self._drop(fastest, leave=KEPT_BYTES // 2)
        self._pages.append(page)
        self._size += len(page.text)
        self.place = page.place
        self._tell_soon()

    def _drop(self, before: int, *, leave: int = 0) -> None:
        """Forget pages before this one, until no more than so many bytes are left."""
        while self._first < before and self._size > leave:
            self._size -= len(self._pages.popleft().text)
            self._first += 1

    def _tell_soon(self) -> None:
        if self._wake is None:
            loop = asyncio.get_running_loop()
            wait = max(0.0, self._woken_at + PACE_SECS - loop.time())
            self._wake = loop.call_later(wait, self._tell)

    def _tell(self) -> None:
        self._woken_at = asyncio.get_running_loop().time()
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._changed.set()
        self._changed.clear()


class Feeds:
    """Those that somebody reads."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, _Kept] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    @asynccontextmanager
    async def joined(
        self, key: Hashable, open_stream: Callable[[], Replies], encoder: Output
    ) -> AsyncIterator[tuple[Feed, Cursor]]:
        """The feed of this key, made of the stream and the encoder if there is none, entered.

        It ends when the last of its readers leaves.
        """
        kept = self._feeds.get(key)
        if kept is None or kept.feed.ended:
            kept = self._feeds[key] = _Kept(Feed(encoder), open_stream)
        kept.readers += 1
        try:
            yield kept.feed, kept.feed.enter()
        finally:
            kept.readers -= 1
            if not kept.readers:
                if self._feeds.get(key) is kept:
                    del self._feeds[key]
                kept.task.cancel()
                await asyncio.gather(kept.task, return_exceptions=True)


class _Kept:
    def __init__(self, feed: Feed, open_stream: Callable[[], Replies]) -> None:
        self.feed = feed
        self.readers = 0
        self.task = asyncio.create_task(_run(feed, open_stream), name="feed")


async def _run(feed: Feed, open_stream: Callable[[], Replies]) -> None:
    try:
        async with open_stream() as replies:
            await feed.fill(replies)
    except CallFailed as failed:
        feed.failure = failed
    finally:
        feed.end()
