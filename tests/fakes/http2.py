"""HTTP/2 frames by hand, for what no proper client would send.

A connection speaks gRPC to a server in the clear: headers are written as HPACK literals without
index or Huffman code, so that nothing here needs a table. It reads what the server says only as
frames: kinds, streams, lengths.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL = 8
HEADER_BYTES = 9


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, as long as its payload is, whatever the other side allows."""
    length = struct.pack(">I", len(payload))[1:]
    return length + struct.pack(">BBI", kind, flags, stream) + payload


def headers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """A header block of literals."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def _text(text: str) -> bytes:
    """A string literal, its length in a prefix of seven bits."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    left, head = len(data) - 127, bytearray([127])
    while left >= 128:
        head.append(left % 128 + 128)
        left //= 128
    return bytes([*head, left]) + data


def call_headers(path: str, *more: tuple[str, str]) -> bytes:
    """What a gRPC call begins with."""
    return headers(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *more,
        ]
    )


def message(data: bytes, length: int | None = None) -> bytes:
    """A gRPC message, which may lie about its length."""
    return struct.pack(">BI", 0, len(data) if length is None else length) + data


class Connection:
    """One connection, its preface and settings sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """All of it, as fast as it is taken. Raises ConnectionError where it was cut."""
        self.writer.write(data)
        await self.writer.drain()

    async def frames(self) -> AsyncIterator[Frame]:
        """What comes, until the server closes or cuts the connection; pings are answered."""
        try:
            while True:
                head = await self.reader.readexactly(HEADER_BYTES)
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                payload = await self.reader.readexactly(length)
                if kind == PING and not flags & ACK:
                    await self.send(frame(PING, ACK, 0, payload))
                yield Frame(kind=kind, flags=flags, stream=stream, payload=payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def until_pong(self) -> bool:
        """Whether the server still answers a ping of ours; false: it closed the connection."""
        try:
            await self.send(frame(PING, 0, 0, b"question"))
        except ConnectionError:
            return False
        async for got in self.frames():
            if got.kind == PING and got.flags & ACK:
                return True
        return False

    async def until_ended(self, stream: int) -> bool:
        """Whether the server ended this stream; false: it closed the connection."""
        async for got in self.frames():
            if got.stream == stream and (got.kind == HEADERS and got.flags & END_STREAM):
                return True
        return False

    def cut(self) -> None:
        """Close the socket without a word."""
        self.writer.transport.abort()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """A connection to `host:port`; cut at the end."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    try:
        await connection.send(PREFACE + frame(SETTINGS, 0, 0))
        yield connection
    finally:
        connection.cut()
