"""One simulated agent's connection: HTTP/2 frames over a socket of its own, no gRPC library.

A library for each of 5,000 agents in one process costs more than the controller that is measured.
What goes over the wire is what an agent sends: preface, settings, a window, Connect with its
credential, DATA with its messages, answers to pings; what it has read is given back with what it
sends next, as gRPC's core does. It reads no header block: whoever is refused is told by its end.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from tests.fakes import http2

WINDOW = 1 << 20
SETTINGS = struct.pack(">HIHIHI", 0x2, 0, 0x3, 0, 0x4, WINDOW)
"""No pushes, streams or small windows: what the agent's gRPC says."""
OWED = WINDOW // 2
"""Read and not given back: beyond it that is not put off any more."""
CLOSED_BY_PEER = (http2.RST_STREAM, http2.GOAWAY)


class Wire(asyncio.Protocol):
    """Connects once; `on_message` gets each message's bytes, `on_end` is called at the end."""

    def __init__(
        self, path: str, credential: str, on_message: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        call = http2.call_headers(path, ("authorization", f"Bearer {credential}"))
        self._opening = (
            http2.PREFACE
            + http2.frame(http2.SETTINGS, 0, 0, SETTINGS)
            + http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65_535))
            + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, call)
        )
        self._on_message, self._on_end = on_message, on_end
        self._transport: asyncio.Transport | None = None
        self._frames = bytearray()
        self._messages = bytearray()
        self._owed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._on_end()

    def call(self, first: bytes) -> None:
        """Open the call, with its first `data_frame`."""
        self._write(self._opening + first)

    def send(self, frame: bytes) -> None:
        """A `data_frame`, made once for many."""
        self._write(self._given_back() + frame)

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._frames += data
        while len(self._frames) >= http2.HEADER_BYTES:
            whole = http2.HEADER_BYTES + int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < whole:
                return
            kind, flags = self._frames[3], self._frames[4]
            payload = bytes(self._frames[http2.HEADER_BYTES : whole])
            del self._frames[:whole]
            self._frame(kind, flags, payload)

    def _frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == http2.DATA:
            self._data(payload)
        elif kind in (http2.SETTINGS, http2.PING) and not flags & http2.ACK:
            answer = payload if kind == http2.PING else b""
            self._write(http2.frame(kind, http2.ACK, 0, answer))
        elif kind in CLOSED_BY_PEER or (kind == http2.HEADERS and flags & http2.END_STREAM):
            self.cut()

    def _given_back(self) -> bytes:
        if not self._owed:
            return b""
        owed, self._owed = struct.pack(">I", self._owed), 0
        return b"".join(http2.frame(http2.WINDOW_UPDATE, 0, stream, owed) for stream in (0, 1))

    def _data(self, payload: bytes) -> None:
        self._owed += len(payload)
        if self._owed > OWED:
            self._write(self._given_back())
        self._messages += payload
        while len(self._messages) >= 5:
            whole = 5 + int.from_bytes(self._messages[1:5], "big")
            if len(self._messages) < whole:
                return
            message = bytes(self._messages[5:whole])
            del self._messages[:whole]
            self._on_message(message)


def data_frame(message: bytes) -> bytes:
    """A gRPC message on the connection's only stream."""
    return http2.frame(http2.DATA, 0, 1, http2.message(message))
