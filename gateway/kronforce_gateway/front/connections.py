"""Connections as they come off the wire: how many, how slow, how large their heads may be.

uvicorn and its parser take a request's head however large it is and however slowly it comes. This
protocol counts it while it is incomplete, and one look a second at all connections ends those that
take too long: a look costs a microsecond a connection, a timer each would cost every request one.
What is ended before an answer began gets one that says why.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.one_write import OneWrite

# Browsers hold six each, agents one or two.
MAX_CONNECTIONS = 4_096
# The rest of the process needs descriptors too: files, agents' streams, the database.
SHARE_OF_DESCRIPTORS = 0.5
# A head of ours has 1 KiB; browsers with cookies of others on localhost send a few more.
MAX_HEAD = 32 << 10
MAX_HEADERS = 100
# From the connection, or the first byte of a later request, to the end of its head.
HEAD_SECS = 10.0
# From there to the end of its body: 4 MiB at 140 kB/s.
BODY_SECS = 30.0
# Nothing of an answer was taken for this long.
STALLED_SECS = 60.0
log = logging.getLogger("kronforce.http")


def until_next_second(now: float) -> float:
    """Seconds to the next whole one of the monotonic clock, on which the controller's loops look
    too: a process that has nothing to do is woken once for all of them."""
    return now // 1 + 1 - now


def max_connections() -> int:
    """What this process may hold."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, int(soft * SHARE_OF_DESCRIPTORS))


class Connections:
    """All connections of a port. `protocol` makes one; `watch` looks after them."""

    def __init__(self, monotonic: Callable[[], float], *, limit: int | None = None) -> None:
        self._monotonic = monotonic
        self._limit = max_connections() if limit is None else limit
        self._open: set[Connection] = set()
        # As of the last look: good enough for limits of many seconds.
        self.now = monotonic()
        self._told = False

    @property
    def protocol(self) -> Any:
        """What uvicorn makes a connection with."""
        return partial(Connection, self)

    def __len__(self) -> int:
        return len(self._open)

    async def watch(self) -> None:
        """Look every second; ends when it is cancelled."""
        while True:
            await asyncio.sleep(until_next_second(self._monotonic()))
            self.look()

    def look(self) -> None:
        """End what takes too long."""
        self.now = self._monotonic()
        for connection in list(self._open):
            connection.look(self.now)

    def enter(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        if len(self._open) < self._limit:
            self._open.add(connection)
            return True
        if not self._told:
            self._told = True
            log.warning(
                "no room for more HTTP connections; further ones are refused until some end",
                extra={"action": "http.full", "connections": self._limit},
            )
        return False

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._told and len(self._open) < self._limit // 2:
            self._told = False


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, connections: Connections, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._all = connections
        # Since when a head or a body has been coming; None: none is.
        self._head_since: float | None = None
        self._body_since: float | None = None
        # Bytes that came while a head was incomplete, and those of the piece that is being read.
        self._head_bytes = 0
        self._piece = 0
        # What of answers nobody has taken, at the last look, and since when it has not shrunk.
        self._unread = 0
        self._unread_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self._wire = OneWrite(transport, lambda: self._body_since is not None)
        transport = cast("asyncio.Transport", self._wire)
        super().connection_made(transport)
        # Streams cut readers that stall: `live/connection.py`.
        self.app_state = {**self.app_state, "abort": transport.abort}
        if not self._all.enter(self):
            self._refuse(_FULL)
            return
        self._head_since = self._unread_since = self._all.now

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._piece = len(data)
        super().data_received(data)
        if self._head_since is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_since is None:
            self._head_since = self._all.now

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._head_bytes = 0
        if self.transport.is_closing():
            return
        if len(self.headers) > MAX_HEADERS or (self._piece > MAX_HEAD and self._oversized()):
            self._refuse(_HEAD_TOO_LARGE)
            return
        super().on_headers_complete()
        self._body_since = self._all.now

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_since = None
        if self.cycle is not None:
            super().on_message_complete()
        if self._wire.lingering:
            self._wire.close()

    def _oversized(self) -> bool:
        size = sum(len(name) + len(value) for name, value in self.headers)
        return size + len(self.url) > MAX_HEAD

    def send_400_response(self, msg: str) -> None:
        # What the parser says is no sentence for people.
        self._refuse(_UNREADABLE)

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol gets HTTP; a line each would be a flood."""

    def look(self, now: float) -> None:
        """End it if it takes too long."""
        transport = self.transport
        unread = transport.get_write_buffer_size()
        if not unread or unread < self._unread:
            self._unread_since = now
        self._unread = unread
        if now - self._unread_since > STALLED_SECS and unread:
            transport.abort()
        elif transport.is_closing():
            return
        elif self._head_since is not None and now - self._head_since > HEAD_SECS:
            self._refuse(_HEAD_TOO_SLOW)
        elif self._body_since is not None and now - self._body_since > BODY_SECS:
            self._end_body()

    def _end_body(self) -> None:
        if self.flow.read_paused:
            # It is we who do not read.
            self._body_since = self._all.now
            return
        cycle = self.cycle
        if cycle.response_started:
            self._body_since = None
            self.transport.close()
            return
        cycle.disconnected = True
        cycle.message_event.set()
        self._refuse(_BODY_TOO_SLOW)

    def _refuse(self, failure: Failure) -> None:
        """Answer without the application, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer to an earlier request is under way; nothing can be put after it.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self._body_since = None
                self.transport.close()
                return
        self._head_since = self._body_since = None
        self.transport.write(_raw(failure))
        self.transport.close()


def _raw(failure: Failure) -> bytes:
    body = failure.body()
    lines = [
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"cache-control: no-store",
        b"x-content-type-options: nosniff",
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ]
    return STATUS_LINE[failure.status] + b"\r\n".join(lines) + b"\r\n\r\n" + body


_FULL = Failure(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    error="too many connections are open here; try again in a moment",
    reason="TOO_MANY_CONNECTIONS",
)
_UNREADABLE = Failure(
    status=HTTPStatus.BAD_REQUEST,
    error="this is no HTTP/1.1 request, or one that can be read in two ways",
    reason="BAD_REQUEST",
)
_HEAD_TOO_LARGE = Failure(
    status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    error=f"the address and the headers are larger than {MAX_HEAD >> 10} KiB,"
    f" or there are more than {MAX_HEADERS}",
    reason="HEADERS_TOO_LARGE",
)
_HEAD_TOO_SLOW = Failure(
    status=HTTPStatus.REQUEST_TIMEOUT,
    error=f"no whole request came within {HEAD_SECS:.0f} s",
    reason="REQUEST_TOO_SLOW",
)
_BODY_TOO_SLOW = Failure(
    status=HTTPStatus.REQUEST_TIMEOUT,
    error=f"the body did not come within {BODY_SECS:.0f} s",
    reason="REQUEST_TOO_SLOW",
)
