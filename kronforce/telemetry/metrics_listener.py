"""GET /metrics over plain HTTP/1.1, for Prometheus and nobody else.

It has no keys and no TLS, so it is off unless an address is given, and listens
where it is told. One short answer a connection; how many there are at a time,
how long one takes and how much it may say are limited, so that no caller costs
the controller more than a few answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from kronforce.config import CannotStart, is_loopback, local_address
from kronforce.telemetry import logs

PATH = "/metrics"
# A few Prometheus servers and a curious operator; another caller is turned away at once.
MAX_CONNECTIONS = 16
# From the first byte to the last: Prometheus gives up after ten seconds by itself.
LIMIT_SECS = 10.0
# The request's head; Prometheus sends some 300 bytes.
MAX_HEAD = 8 << 10
_PLAIN = "text/plain; charset=utf-8"

log = logs.logger("metrics")


class MetricsListener:
    """One listening port. `start`, then `stop`."""

    def __init__(
        self, *, bind: str, content_type: str, text: Callable[[], Awaitable[bytes]]
    ) -> None:
        self._bind = bind
        self._content_type = content_type
        self._text = text
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Where it listens, for a client on this host; the port is known once it has started."""
        return local_address(self._bind, self.port)

    async def start(self) -> None:
        """Listen. Raises CannotStart if the port cannot be had."""
        host, _, port = self._bind.rpartition(":")
        try:
            self._server = await asyncio.start_server(
                self._connected, host.strip("[]"), int(port), limit=MAX_HEAD
            )
        except OSError as error:
            raise CannotStart(
                f"cannot serve metrics on {self._bind}: {error.strerror or error}; choose another"
                " address with --metrics-bind or KRONFORCE_METRICS_BIND"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        if not is_loopback(self._bind):
            log.warning(
                "everybody who reaches this address reads the metrics, without a key and in the"
                " clear: bind them to 127.0.0.1, or let only Prometheus through",
                action="metrics.open",
                address=self._bind,
            )

    async def stop(self) -> None:
        """Take no more, and end what is under way."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(LIMIT_SECS):
                writer.write(await self._answer(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError):
            # It was too slow, or has gone.
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return b""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target, _, version = rest.rpartition(" ")
        if not version.startswith("HTTP/1."):
            return _reply(HTTPStatus.BAD_REQUEST)
        if target.partition("?")[0] != PATH:
            return _reply(HTTPStatus.NOT_FOUND, f"only {PATH} is here\n".encode())
        if method not in ("GET", "HEAD"):
            return _reply(HTTPStatus.METHOD_NOT_ALLOWED, allow=True)
        return await self._metrics(with_body=method == "GET")

    async def _metrics(self, *, with_body: bool) -> bytes:
        try:
            body = await self._text()
        except Exception:
            log.exception("metrics could not be gathered", action="metrics.failed")
            return _reply(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _reply(HTTPStatus.OK, body, content_type=self._content_type, with_body=with_body)


def _reply(
    status: HTTPStatus,
    body: bytes = b"",
    *,
    content_type: str = _PLAIN,
    with_body: bool = True,
    allow: bool = False,
) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(["Allow: GET, HEAD"] if allow else []),
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + body if with_body else head
