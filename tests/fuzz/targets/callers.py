"""Whoever calls: every method by stub, HTTP and MCP, with hostile messages, metadata and bytes.

A whole controller stands behind it. Whatever is sent, the answer is no fault of ours: no INTERNAL,
no 500, no answer that is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from kronforce.api.transport import CallFailed
from kronforce.errors import Code
from kronforce_client import dialect
from kronforce_gateway.bindings import bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.mcp.catalogue import exposed, snake_case
from tests.contract.access.world import ADMIN_KEY, IN, World, bearer, world
from tests.fuzz import http_words as words
from tests.fuzz.growing import grown
from tests.fuzz.inputs import damage
from tests.fuzz.target import Check, Target

BATCH = 500
GZIP = b"\x1f\x8b"
# A stream of a good request goes on for ever; so many replies of it, or so long, is enough.
_REPLIES = 2
_STREAM_SECS = 0.05
_ANSWER_SECS = 20.0

_METHODS = [method for service in SERVICES for method in service.methods]


class _Callers:
    def __init__(self, made: World, known: list[str]) -> None:
        self._world = made
        self._known = known

    async def stub(self, number: int) -> None:
        chance = random.Random(number)
        method = chance.choice(_METHODS)
        metadata = bearer(ADMIN_KEY) | _some(chance, words.METADATA)
        transport = self._world.transports[chance.choice(("grpc", "local", "local"))]
        timeout = chance.choice((None, 10.0, 0.001, -1.0, 1e12)) if number % 7 == 0 else None
        request = grown(chance, GetMessageClass(method.input_type), self._known)
        try:
            async with asyncio.timeout(_ANSWER_SECS):
                if method.client_streaming or method.server_streaming:
                    await _stream(transport, method, request, metadata)
                else:
                    await transport.unary(method, request, metadata=metadata, timeout=timeout)
        except CallFailed as failed:
            # Without a reason it is the channel's own: it was still writing when it was refused.
            ours = failed.reason and failed.code is Code.INTERNAL
            assert not ours, (method.full_name, failed.status)  # noqa: PT017
        self._world.forgive()

    async def http(self, number: int) -> None:
        chance = random.Random(number)
        verb, path, query, body = _asked(chance, self._known)
        headers = _headers(chance, body)
        status, answer = await _ask(self._gateway(chance), verb, path, query, body, headers)
        assert status is not None, (verb, path, query, body, headers)
        assert status < 500 or status in (501, 503), (status, verb, path, query, body, answer)
        if status >= 400 and answer and verb != "HEAD" and path != b"/mcp":
            orjson.loads(gzip.decompress(answer) if answer[:2] == GZIP else answer)
        self._world.forgive()

    async def mcp(self, number: int) -> None:
        chance = random.Random(number)
        body = _tool_call(chance, self._known)
        headers = [
            (b"accept", b"application/json, text/event-stream"),
            (b"mcp-protocol-version", chance.choice((b"2026-07-28", b"2025-06-18", b"x", b"\xff"))),
            *_headers(chance, body),
        ]
        status, answer = await _ask(self._gateway(chance), "POST", b"/mcp", b"", body, headers)
        assert status is not None
        assert status < 500, (status, body, answer)
        assert b"something went wrong here" not in answer, (body, answer)
        assert b'"reason":"INTERNAL"' not in answer.replace(b" ", b""), (body, answer)
        self._world.forgive()

    def _gateway(self, chance: random.Random) -> Any:
        return self._world.gateways[chance.choice(("in process", "in process", "over a channel"))]


def _some(chance: random.Random, of: dict[str, list[str]]) -> dict[str, str]:
    names = [name for name in of if chance.random() < 0.15]
    # What gRPC itself would not send is no test of ours.
    return {name: chance.choice(of[name]).encode("ascii", "replace").decode() for name in names}


async def _stream(
    transport: Any, method: MethodDescriptor, request: Message, metadata: Any
) -> None:
    async def requests() -> AsyncIterator[Message]:
        yield request
        yield request

    opened = (
        transport.bidi(method, requests(), metadata=metadata)
        if method.client_streaming
        else transport.server_stream(method, request, metadata=metadata)
    )
    with contextlib.suppress(TimeoutError):
        async with opened as replies, asyncio.timeout(_STREAM_SECS):
            for _ in range(_REPLIES):
                await anext(replies, None)


# HTTP.

_BINDINGS = list(bindings_of(SERVICES))


def _asked(chance: random.Random, known: list[str]) -> tuple[str, bytes, bytes, bytes]:
    query = b"&".join(chance.sample(words.QUERIES, chance.choice((0, 0, 1, 2))))
    if chance.random() < 0.15:
        path = chance.choice(words.OTHERS).encode()
        verb = chance.choice(("GET", "POST", "HEAD", "OPTIONS", "DELETE", "TRACE", "x"))
        return verb, path, query, chance.choice((b"", *words.JSON))
    binding = chance.choice(_BINDINGS)
    path = _filled(binding.path, [_word(chance, known) for _ in binding.variables])
    if chance.random() < 0.1:
        path = damage(path, chance.randrange(2**32), 1).replace(b"\n", b"") or b"/"
    verb = binding.verb if chance.random() < 0.9 else chance.choice(("GET", "PUT", "HEAD", "PATCH"))
    body = b"" if binding.verb == "GET" else _body(chance, binding.request_class, known)
    return verb, path, query.replace(b"%s", _word(chance, known)), body


def _word(chance: random.Random, known: list[str]) -> bytes:
    if chance.random() < 0.6:
        return chance.choice(known).replace(" ", "%20").encode()
    return chance.choice(words.PARTS)


def _filled(path: str, values: list[bytes]) -> bytes:
    whole, rest = b"", path
    for word in values:
        before, _, rest = rest.partition("{")
        _, _, rest = rest.partition("}")
        whole += before.encode() + word
    return whole + rest.encode()


def _body(chance: random.Random, kind: Any, known: list[str]) -> bytes:
    if chance.random() < 0.2:
        return chance.choice(words.JSON) * chance.choice((1, 1, 8_000))
    message = grown(chance, kind, known)
    try:
        plain = dialect.render(message, omit_defaults=True)
    except Exception:  # noqa: BLE001 - what JSON cannot say is what `stub` sends
        plain = {"name": chance.choice(known)}
    body = orjson.dumps(plain, default=str)
    return damage(body, chance.randrange(2**32), 2) if chance.random() < 0.3 else body


def _headers(chance: random.Random, body: bytes) -> list[tuple[bytes, bytes]]:
    usual = {b"host": b"test", b"authorization": b"Bearer " + ADMIN_KEY.encode()}
    if body:
        usual |= {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
    for name, values in words.HEADERS.items():
        if chance.random() < 0.06:
            usual[name] = chance.choice(values)
    found = list(usual.items())
    return found + (found[:1] if chance.random() < 0.03 else [])


async def _ask(
    app: Any, verb: str, path: bytes, query: bytes, body: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[int | None, bytes]:
    """As uvicorn would call; the caller goes once the answer has begun."""
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": verb.upper(),
        "path": unquote(path.decode("latin-1")), "raw_path": path, "query_string": query,
        "headers": headers, "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    unread, begun = [body[:10], body[10:]], asyncio.Event()
    messages: list[Any] = []

    async def receive() -> Any:
        if unread:
            return {"type": "http.request", "body": unread.pop(0), "more_body": bool(unread)}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)
        begun.set()

    async with asyncio.timeout(_ANSWER_SECS):
        await app(scope, receive, send)
    status = messages[0]["status"] if messages else None
    return status, b"".join(each.get("body", b"") for each in messages[1:])


# MCP.

_TOOLS = [method for method in _METHODS if exposed(method)]


def _tool_call(chance: random.Random, known: list[str]) -> bytes:
    if chance.random() < 0.1:
        return chance.choice(words.JSON) * chance.choice((1, 8_000))
    method = chance.choice(_TOOLS)
    try:
        arguments = dialect.render(
            grown(chance, GetMessageClass(method.input_type), known), omit_defaults=True
        )
    except Exception:  # noqa: BLE001 - the same
        arguments = _odd(chance)
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    said: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": words.RPC[0] if chance.random() < 0.8 else chance.choice(words.RPC),
        "params": {"name": snake_case(method.name), "arguments": arguments, "_meta": meta},
    }
    if chance.random() < 0.3:
        said[chance.choice(list(said))] = _odd(chance)
    if chance.random() < 0.2 and isinstance(said["params"], dict):
        name = chance.choice(("name", "arguments", "_meta", "cursor"))
        said["params"][name] = _odd(chance)
    try:
        return orjson.dumps(said, default=str)
    except TypeError:  # a number of more than 64 bits
        return dialect.dumps(said).encode()


def _odd(chance: random.Random) -> Any:
    """A copy: some are written into, and one within itself is no JSON."""
    return deepcopy(chance.choice(words.ODD))


def _opened(name: str) -> Any:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Check]:
        async with world(folder, empty=True) as made:
            check: Check = getattr(_Callers(made, await _known(made)), name)
            yield check

    return opened


async def _known(made: World) -> list[str]:
    """Names and ids of what is there, so that calls come further than to its lookup."""
    run = (await made.run(IN)).run
    ended = await made.ended_run(IN)
    hook = await made.webhook(IN)
    return [
        await made.job(IN), run.id, run.job_name, ended, await made.agent(IN),
        await made.custom_agent(IN), await made.variable(IN), await made.token(), IN,
        hook.url.rpartition("/")[2] if hasattr(hook, "url") else "webhook",
    ]  # fmt: skip


TARGETS = [
    Target(
        name=name, inputs=st.integers(0, 2**64 - 1), opened=_opened(name), batch=BATCH, short=150
    )
    for name in ("stub", "http", "mcp")
]
