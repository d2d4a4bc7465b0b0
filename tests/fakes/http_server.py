"""A web server on loopback that says, byte by byte, what a test wants.

`answers` maps a path (without query) to bytes, or to a coroutine function that is given the
connection. What came in is recorded. Nothing is interpreted beyond the request's head and its
Content-Length, so that broken answers can be told apart from a broken server.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

PATIENCE_SECS = 30.0


@dataclass(frozen=True, kw_only=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes
    peer_certificate: object = None


Talk = Callable[[Received, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reply(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """A whole answer with its length."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in {"Content-Length": len(body), **given}.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return reply(status, Location=location)


class HttpServer:
    """Use as an async context manager; `answers` may be changed at any time."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, bytes | Talk] = {}
        self.received: list[Received] = []
        self.connections = 0
        self.closed = asyncio.Semaphore(0)
        """Released for each connection that its client closed or broke."""
        self.asked = asyncio.Semaphore(0)
        """Released for each request."""
        self._tls = tls
        self._host = host
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http{'s' if self._tls else ''}://{host}:{self.port}{path}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            received = await _read(reader, writer)
            self.received.append(received)
            self.asked.release()
            answer = self.answers.get(received.target.partition("?")[0], reply("404 Not Found"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(received, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed.release()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    tls = writer.get_extra_info("ssl_object")
    return Received(
        method=method,
        target=target,
        headers=headers,
        body=body,
        raw=head,
        peer_certificate=tls.getpeercert() if tls is not None else None,
    )
