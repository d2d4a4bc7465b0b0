"""One reader's connection: what is written to it, and when it is given up.

ASGI's `send` waits while the transport is full, so what is buffered for a reader is bounded by
one write and the transport's own mark. One that takes nothing for `STALL_SECS` is cut by aborting
its transport: a plain close would wait, with all that is buffered, until it reads on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# A page in a background tab reads on; one that does not for so long has stalled.
STALL_SECS = 30.0

# Of one write; more is written in parts, so that no reader has more than this waiting.
WRITE_BYTES = 64 << 10

# Where the listener puts what cuts a connection.
ABORT = "abort"


class Stalled(Exception):
    """The reader took nothing for too long, and was cut."""


class Connection:
    """Begin, write as often as there is something, end."""

    def __init__(self, scope: Scope, send: Send, *, stall_secs: float = STALL_SECS) -> None:
        self._abort: Callable[[], None] | None = scope.get("state", {}).get(ABORT)
        self._send = send
        self._stall_secs = stall_secs
        self.begun = False

    async def begin(self, kind: bytes, headers: Mapping[bytes, bytes]) -> None:
        """Send the head."""
        self.begun = True
        raw = [(b"content-type", kind), *headers.items()]
        await self._put({"type": "http.response.start", "status": 200, "headers": raw})

    async def write(self, parts: Iterable[bytes]) -> None:
        """Send the parts, joined as far as a write may be long. Raises Stalled."""
        waiting: list[bytes] = []
        size = 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size >= WRITE_BYTES:
                await self._body(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            await self._body(b"".join(waiting))

    async def end(self, within: float | None = None) -> None:
        """Nothing follows. `within`: seconds that it may take, where that is less than usual."""
        await self._put({"type": "http.response.body", "body": b""}, within)

    async def cut(self) -> None:
        """End it in a way that a reader sees was no end."""
        if self._abort is not None:
            self._abort()
            # The loop tells the server of it in its next turn.
            await asyncio.sleep(0)

    async def _body(self, body: bytes) -> None:
        await self._put({"type": "http.response.body", "body": body, "more_body": True})

    async def _put(self, message: MutableMapping[str, Any], within: float | None = None) -> None:
        try:
            async with asyncio.timeout(within or self._stall_secs):
                await self._send(message)
        except TimeoutError:
            await self.cut()
            raise Stalled from None


async def until_gone(receive: Receive) -> None:
    """Return when the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
