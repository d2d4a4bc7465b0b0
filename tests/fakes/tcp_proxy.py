"""A TCP proxy with faults, for tests of what networks do.

Between a client and a server on loopback: it can hold bytes back (black-hole, in either direction
or both), cut every connection, refuse new ones, close one direction, strand the old connections
while new ones pass (what was on its way then arrives after what was sent later), delay, and slice
what it passes on. All faults begin and end at the test's word; nothing is random.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

READ_BYTES = 64 * 1024


class TcpProxy:
    """Listens on a loopback port and passes everything on, until told otherwise."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        # Of all connections: what goes up to the server, and what comes down from it.
        self._up, self._down = _open(), _open()
        self._refusing = False
        self.delay_secs = 0.0
        # Bytes passed on in one write; 0: whatever came.
        self.slice_bytes = 0
        self.accepted = 0
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()
        while self._connections:
            await asyncio.gather(*(each.ended.wait() for each in self._connections))

    def move_to(self, target: str) -> None:
        """Whoever connects from now on gets to another server."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))

    # Faults.

    def black_hole(self) -> None:
        """Connections stay open and nothing passes, in either direction."""
        self._up.clear()
        self._down.clear()

    def deafen_server(self) -> None:
        """Half-open: nothing goes up any more, and what comes down passes."""
        self._up.clear()

    def deafen_clients(self) -> None:
        """Half-open: nothing comes down any more, and what goes up passes."""
        self._down.clear()

    def strand(self) -> None:
        """Nothing passes on the connections that there are; new ones are as they should be."""
        for connection in self._connections:
            connection.flows.clear()

    def heal(self) -> None:
        """Pass on what was held back, and everything after it; accept again."""
        for flow in (self._up, self._down, *(each.flows for each in self._connections)):
            flow.set()
        self._refusing = False

    def drop(self) -> None:
        """Cut every connection, with a reset."""
        for connection in self._connections:
            connection.cut()

    def refuse(self) -> None:
        """Cut every connection, and each new one at once."""
        self._refusing = True
        self.drop()

    def half_close(self) -> None:
        """The server hears no more of its clients, and goes on talking to them."""
        for connection in self._connections:
            connection.half_close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, far_writer)
        self._connections.add(connection)
        connection.pumps = [
            asyncio.ensure_future(self._pump(reader, far_writer, self._up, connection.flows)),
            asyncio.ensure_future(self._pump(far_reader, writer, self._down, connection.flows)),
        ]
        try:
            await asyncio.gather(*connection.pumps, return_exceptions=True)
        finally:
            connection.cut()
            self._connections.discard(connection)
            connection.ended.set()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *flows: asyncio.Event
    ) -> None:
        while data := await reader.read(READ_BYTES):
            await _all_set(flows)
            if self.delay_secs:
                await asyncio.sleep(self.delay_secs)
            step = self.slice_bytes or len(data)
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
        # A black hole swallows the end as well.
        await _all_set(flows)
        with contextlib.suppress(OSError):
            writer.write_eof()


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _all_set(events: tuple[asyncio.Event, ...]) -> None:
    while not all(event.is_set() for event in events):
        for event in events:
            await event.wait()


class _Connection:
    """Both halves of one connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._near = near
        self._far = far
        self.flows = _open()
        self.pumps: list[asyncio.Future[None]] = []
        self.ended = asyncio.Event()

    def cut(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        for writer in (self._near, self._far):
            writer.transport.abort()

    def half_close(self) -> None:
        self.pumps[0].cancel()
        with contextlib.suppress(OSError):
            self._far.write_eof()
