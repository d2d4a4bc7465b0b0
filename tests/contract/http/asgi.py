"""Calling an ASGI application without a port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(
    app: Any, verb: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask; `path` is percent-encoded and has its query behind it. No body: none is sent.

    Whoever goes on reading the request once the answer has begun is told that the caller has gone,
    so that a stream ends with what it began with.
    """
    raw, _, query = path.partition("?")
    sent = {"host": "test", **(headers or {})}
    if body:
        sent |= {"content-type": "application/json", "content-length": str(len(body))}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": verb,
        "path": raw,
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 80),
    }
    messages: list[Any] = []
    unread, begun = [body], asyncio.Event()

    async def receive() -> Any:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)
        begun.set()

    await app(scope, receive, send)
    start, *parts = messages
    return Answer(
        status=int(start["status"]),
        headers={name.decode().lower(): value.decode() for name, value in start["headers"]},
        body=b"".join(part.get("body", b"") for part in parts),
    )
