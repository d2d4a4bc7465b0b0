"""An HTTP client that reads as slowly as a test wants; one request a connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True)
class Event:
    """One event of a stream; a bookmark has no name."""

    name: str
    data: Any
    id: str


@dataclass
class Answer:
    """An answer whose body is read on demand."""

    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    comments: list[str] = field(default_factory=list)
    _buffer: bytes = b""
    _events: AsyncIterator[Event] | None = None

    async def body(self) -> bytes:
        """All of it."""
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers["content-length"]))
        if self.headers.get("transfer-encoding") != "chunked":
            return b""
        return b"".join([chunk async for chunk in self.chunks()])

    async def json(self) -> Any:
        return orjson.loads(await self.body())

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises IncompleteReadError where the connection is cut."""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    def events(self) -> AsyncIterator[Event]:
        """Events and bookmarks as they come, from where the last look ended; comments aside."""
        self._events = self._events or self._read_events()
        return self._events

    async def _read_events(self) -> AsyncIterator[Event]:
        async for chunk in self.chunks():
            self._buffer += chunk
            *blocks, self._buffer = self._buffer.split(b"\n\n")
            for block in blocks:
                if (event := self._event(block.decode())) is not None:
                    yield event

    def _event(self, block: str) -> Event | None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                self.comments.append(value.strip())
        if "id" not in fields and "data" not in fields:
            return None
        data = orjson.loads(fields["data"]) if "data" in fields else None
        return Event(fields.get("event", ""), data, fields.get("id", ""))


@asynccontextmanager
async def ask(
    port: int,
    path: str,
    *,
    verb: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    receive_buffer: int = 0,
) -> AsyncIterator[Answer]:
    """Send one request; leaving the context closes the connection."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    try:
        lines = [f"{verb} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        yield await _answer(reader, writer)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in head[1:-2]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return Answer(int(head[0].split()[1]), headers, reader, writer)
