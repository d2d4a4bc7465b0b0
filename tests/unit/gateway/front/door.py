"""A door with a handler behind it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kronforce_gateway.calls import respond
from kronforce_gateway.front.front import Front
from kronforce_gateway.front.settings import FrontSettings


@dataclass(kw_only=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    messages: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Door:
    """A front, and the scopes that its handler saw."""

    front: Front
    seen: list[Any]

    async def call(
        self, *, verb: str = "GET", peer: str = "127.0.0.1", scheme: str = "http", **headers: str
    ) -> Answer:
        pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        return await self.send(verb=verb, peer=peer, scheme=scheme, headers=pairs)

    async def send(
        self, *, headers: list[tuple[bytes, bytes]], verb: str, peer: str, scheme: str
    ) -> Answer:
        answer = Answer()

        async def send(message: Any) -> None:
            answer.messages.append(message)
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                for name, value in message["headers"]:
                    assert name.decode() not in answer.headers, "said twice"
                    answer.headers[name.decode()] = value.decode()
            else:
                answer.body += message.get("body", b"")

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {
            "type": "http",
            "method": verb,
            "scheme": scheme,
            "client": (peer, 4711),
            "headers": headers,
            "raw_path": b"/api/jobs/secret-name",
            "query_string": b"token=secret",
        }
        await self.front(scope, receive, send)
        return answer


def door(
    handler: Callable[[Any], Any] | None = None,
    *,
    monotonic: Callable[[], float] = lambda: 1.0,
    **settings: Any,
) -> Door:
    """`handler` takes the scope and gives status, body, headers and the content's type."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope)
        status, body, headers, kind = handler(scope) if handler else (200, b"{}", {}, None)
        await respond(send, status, body, headers, *([kind] if kind else []))

    return Door(front=Front(app, FrontSettings(**settings), monotonic=monotonic), seen=seen)
