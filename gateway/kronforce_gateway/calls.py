"""Unary methods over HTTP: one ASGI callable for all routes of the contract.

Streaming methods are found here too, and answered by whoever was given for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, NoReturn

from google.protobuf.descriptor import ServiceDescriptor

from kronforce.api.transport import CallFailed, Transport
from kronforce.v1 import key_service_pb2
from kronforce.v1.key_service_pb2 import WhoAmIRequest
from kronforce_gateway import failures, long_polls, not_yet, replies, requests
from kronforce_gateway.bindings import Binding, bindings_of
from kronforce_gateway.browser.callers import Callers
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.hosts import is_loopback
from kronforce_gateway.front.passage import admit, failed, headers_of
from kronforce_gateway.routes import Found, Routes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# What answers a call of a streaming method.
Stream = Callable[[Found[Binding], Scope, Receive, Send], Awaitable[None]]

# As over gRPC: what is larger is sent in parts.
MAX_BODY = 4 << 20
# Reading JSON takes the loop's time, a second for ten megabytes: of who is not known to have a key
# no more is read.
MAX_STRANGERS_BODY = 16 << 10
# What is taken as it comes is somebody else's event, from whoever knows a path.
MAX_RAW_BODY = 1 << 20

JSON = b"application/json"

# What any good key may call, to know a good key.
_WHO_AM_I = key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].methods_by_name["WhoAmI"]
# google.rpc.Code: the key is good no longer.
UNAUTHENTICATED = 16


class Api:
    """The contract's methods, as an ASGI application."""

    def __init__(
        self,
        transport: Transport,
        services: Iterable[ServiceDescriptor],
        *,
        callers: Callers,
        streams: Stream,
    ) -> None:
        self._transport = transport
        self._callers = callers
        self._streams = streams
        self._routes: Routes[Binding] = Routes()
        for binding in bindings_of(services):
            self._routes.add(binding.verb, binding.path, binding)
        self._later = not_yet.routes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            found = self._find(scope) or await self._nothing(scope)
            if found.target.streaming:
                await self._streams(found, scope, receive, send)
                return
            status, body, headers = await self._answer(found, scope, receive)
        except Failure as failure:
            failed(scope, failure.reason)
            status, body, headers = failure.status, failure.body(), failure.headers
        if scope["method"] == "HEAD":
            body = b""
        await respond(send, status, body, headers)

    async def _answer(
        self, found: Found[Binding], scope: Scope, receive: Receive
    ) -> tuple[int, bytes, Mapping[str, str]]:
        headers = headers_of(scope)
        binding = found.target
        if binding.waits and scope["method"] == "HEAD":
            # It gives something away, and a head alone would lose it.
            raise failures.wrong_verb("HEAD", binding.path, [binding.verb])
        admit(scope, binding.path, binding.rate_class)
        if_match = headers.get(b"if-match", b"").decode("latin-1")
        metadata = requests.forwarded(headers)
        session = self._callers.lend(scope, headers, metadata)
        asked = False
        try:
            if binding.body:
                body = await self._body(binding, headers, receive)
                if len(body) > MAX_STRANGERS_BODY and not binding.raw:
                    asked = True
                    await self._check_sender(binding, scope, metadata)
            else:
                body = no_body(headers)
            request = requests.read_request(
                binding, found.values, scope["query_string"], body, if_match, headers
            )
        except Failure:
            # As over gRPC: what is wrong with a request is told to whoever may call at all.
            keyless = binding.of_agents and "authorization" not in metadata
            if not (asked or binding.public or keyless):
                await self._check_key(scope, metadata)
            raise
        if binding.waits:
            metadata |= long_polls.reached_at(scope, headers)
        call = self._transport.unary(
            binding.method, request, metadata=metadata, peer=peer_of(scope)
        )
        try:
            reply = await (long_polls.until_gone(call, receive) if binding.waits else call)
        except CallFailed as failed:
            if session is not None and failed.status.code == UNAUTHENTICATED:
                self._callers.sessions.end(session)
            names = binding.query.as_sent(scope["query_string"])
            raise _failure(failed, if_match, names) from failed
        if binding.may_be_empty and not reply.ByteSize():
            return HTTPStatus.NO_CONTENT, b"", {}
        etag = replies.etag_of(reply)
        sent = {"etag": f'"{etag}"'} if etag else {}
        return replies.status_of(binding), replies.encode(binding, reply, request), sent

    def is_stream(self, path: str) -> bool:
        """Whether a GET of this path is a stream."""
        found = self._routes.find("GET", path)
        return found is not None and found.target.streaming

    async def _body(
        self, binding: Binding, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes:
        if binding.raw:
            return await read_body(headers, receive, MAX_RAW_BODY)
        body = await read_body(headers, receive)
        if body:
            check_type(headers)
        return body

    def serves(self, verb: str, path: str) -> bool:
        """Whether a method stands there."""
        return self._routes.find(verb, path) is not None

    def _find(self, scope: Scope) -> Found[Binding] | None:
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        return self._routes.find(_verb(scope), path)

    async def _nothing(self, scope: Scope) -> NoReturn:
        """Raises Failure: not built yet, another verb, or no such path."""
        verb, path = _verb(scope), scope["raw_path"].decode("latin-1").partition("?")[0]
        later = self._later.find(verb, path)
        if later is not None:
            admit(scope, later.target.path, later.target.rate_class)
            if not later.target.public:
                headers = headers_of(scope)
                metadata = requests.forwarded(headers)
                self._callers.lend(scope, headers, metadata)
                await self._check_key(scope, metadata)
            raise later.target.failure()
        allowed = sorted({*self._routes.verbs(path), *self._later.verbs(path)})
        raise failures.wrong_verb(verb, path, allowed) if allowed else failures.not_found(path)

    async def _check_sender(
        self, binding: Binding, scope: Scope, metadata: Mapping[str, str]
    ) -> None:
        """Of a large body, before it is read. Raises Failure."""
        keyless = binding.of_agents and "authorization" not in metadata
        if not (keyless and is_loopback(peer_of(scope))):
            if keyless and binding.public:
                raise failures.too_large(MAX_STRANGERS_BODY)
            await self._check_key(scope, metadata)

    async def _check_key(self, scope: Scope, metadata: Mapping[str, str]) -> None:
        try:
            await self._transport.unary(
                _WHO_AM_I,
                WhoAmIRequest(),
                metadata=metadata,
                peer=peer_of(scope),
            )
        except CallFailed as failed:
            raise failures.of_call(failed) from failed


def _verb(scope: Scope) -> str:
    return "GET" if scope["method"] == "HEAD" else str(scope["method"])


def _failure(failed: CallFailed, if_match: str, names: Mapping[str, str]) -> Failure:
    failure = failures.of_call(failed, names)
    if if_match and failed.reason == "ETAG_MISMATCH":
        return Failure(
            status=HTTPStatus.PRECONDITION_FAILED,
            error=failure.error,
            reason=failure.reason,
            details=failure.details,
        )
    return failure


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, limit: int = MAX_BODY
) -> bytes:
    """The whole body. Raises Failure where it is too large."""
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise failures.too_large(limit)
    message = await _next(receive)
    body = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await _next(receive)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise failures.too_large(limit)
        body = b"".join(parts)
    return bytes(body)


def no_body(headers: Mapping[bytes, bytes]) -> bytes:
    """Of a method that takes none. Raises Failure where one comes: nobody would read it."""
    if headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in headers:
        raise failures.unread_body()
    return b""


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        # What came of the body is not all of it.
        raise failures.gone()
    return message


def check_type(headers: Mapping[bytes, bytes]) -> None:
    """Raises Failure where a body is not JSON by its own word."""
    kind = headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
    if kind != JSON and not kind.endswith(b"+json"):
        raise failures.wrong_type(kind.decode("latin-1"))


def peer_of(scope: Scope) -> str:
    """The caller's address."""
    client = scope.get("client")
    return client[0] if client else "unix"


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str], kind: bytes = JSON
) -> None:
    """One whole answer."""
    raw = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    raw += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
