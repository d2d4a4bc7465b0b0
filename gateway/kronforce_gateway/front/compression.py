"""gzip for large answers, where the caller takes it.

Whole answers of text alone: a stream is never held back for it, and what sets a cookie is left as
it is, so that no secret is compressed beside what a caller chose.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from kronforce_gateway.front.passage import Header

# Below this one packet carries it anyway.
MIN_BYTES = 1_400
# Beyond this a thread does it: some 10 ms of one CPU.
IN_THREAD_BYTES = 1 << 20
# The fastest level: a sixth of the size of a list of jobs, at 200 MB/s.
LEVEL = 1

_TYPES = (b"application/json", b"application/javascript", b"text/")
_NEVER = (b"content-encoding", b"set-cookie")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def takes_gzip(accepted: bytes | None) -> bool:
    """Whether an Accept-Encoding header allows it."""
    if accepted is None or b"gzip" not in accepted:
        return False
    return not any(
        part.strip().startswith(b"gzip") and part.replace(b" ", b"").rstrip(b"0.").endswith(b";q=")
        for part in accepted.lower().split(b",")
    )


class Compressing:
    """An ASGI `send` that compresses what is worth it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Pass a message on; the start of an answer waits for its body."""
        if message["type"] == "http.response.start":
            if _may_shrink(message):
                self._start = message
            else:
                await self._send(message)
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body") and len(message["body"]) >= MIN_BYTES:
                await _compress(start, message)
            await self._send(start)
        await self._send(message)


def _may_shrink(start: Message) -> bool:
    kind = b""
    for name, value in start["headers"]:
        if name in _NEVER:
            return False
        if name == b"content-type":
            kind = value
    return kind.startswith(_TYPES) and not kind.startswith(b"text/event-stream")


async def _compress(start: Message, message: Message) -> None:
    body = message["body"]
    if len(body) >= IN_THREAD_BYTES:
        packed = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    else:
        packed = gzip.compress(body, LEVEL, mtime=0)
    length: Header = (b"content-length", b"%d" % len(packed))
    kept = [each for each in start["headers"] if each[0] != b"content-length"]
    if not any(name == b"vary" for name, _ in kept):
        kept.append((b"vary", b"accept-encoding"))
    start["headers"] = [*kept, length, (b"content-encoding", b"gzip")]
    message["body"] = packed
