"""HTTP/1.1 with one request at a time on each of its connections, and nothing that costs much.

Requests are bytes that were put together before; of an answer its status and its length are read.
"""

from __future__ import annotations

import asyncio
from typing import cast

from tests.bench.books import Void

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Connection(asyncio.Protocol):
    """`await call(request)` gives status and body."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(_END)
        if head < 0:
            return
        at = self._buffer.find(_LENGTH, 0, head + 2)
        end = head + 4
        if at >= 0:
            end += int(self._buffer[at + len(_LENGTH) : self._buffer.index(b"\r", at)])
        if len(self._buffer) < end:
            return
        status, body = int(self._buffer[9:12]), self._buffer[head + 4 : end]
        self._buffer = self._buffer[end:]
        answer, self._answer = self._answer, None
        assert answer is not None
        answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Void(f"the gateway closed a connection: {exc}"))

    def call(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send it; the answer comes."""
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(url: str) -> Connection:
    """A connection to `http://host:port`."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, int(port))
    return connection


def request(verb: str, path: str, key: str, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{verb} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    if verb != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + body
