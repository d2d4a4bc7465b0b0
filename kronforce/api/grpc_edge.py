"""The gRPC edge: makes a Call of a grpc context, and a status of an error.

The chain is put around each handler once, when the server is built, and not by
an interceptor that is asked at each call (`docs/adr/0003`): it costs nothing where
nothing happens. Only here, in `server.py`, in `app.py` and in generated code
is grpc imported. `GrpcTransport` is the other end, for callers in Python.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from kronforce.api.access import Method, full_name
from kronforce.api.call import UNIX_PEER, Call
from kronforce.api.chain import MAX_MESSAGE_BYTES, Chain
from kronforce.api.forwarded import FORWARDED_FOR, SURFACE, Forwarders
from kronforce.api.services import Endpoint
from kronforce.api.status import to_status
from kronforce.api.transport import CallFailed
from kronforce.errors import InvalidArgument, KronforceError

Context = grpc.aio.ServicerContext[Any, Any]

# Where a google.rpc.Status travels.
STATUS_KEY = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def generic_handlers(
    endpoints: Mapping[str, Endpoint], chain: Chain, forwarders: Forwarders
) -> list[grpc.GenericRpcHandler]:
    """One for each service, for `add_generic_rpc_handlers`."""
    by_service: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for name, endpoint in endpoints.items():
        service, _, method = name[1:].partition("/")
        by_service.setdefault(service, {})[method] = _method_handler(endpoint, chain, forwarders)
    return [
        grpc.method_handlers_generic_handler(service, handlers)
        for service, handlers in by_service.items()
    ]


def _method_handler(
    endpoint: Endpoint, chain: Chain, forwarders: Forwarders
) -> grpc.RpcMethodHandler[Any, Any]:
    rule = endpoint.rule
    behaviour = (_streaming if rule.server_streaming else _unary)(endpoint, chain, forwarders)
    return _FACTORIES[rule.client_streaming, rule.server_streaming](
        behaviour,
        request_deserializer=(
            _frame_reader(endpoint.request_class)
            if rule.client_streaming
            else _reader(endpoint.request_class)
        ),
        response_serializer=endpoint.reply_class.SerializeToString,
    )


_FACTORIES: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Unreadable(Exception):
    """Stands in for a request whose bytes are no such message, until its caller is known."""


def _reader(kind: type[Message]) -> Callable[[bytes], Message | _Unreadable]:
    def read(data: bytes) -> Message | _Unreadable:
        try:
            return kind.FromString(data)
        except DecodeError:
            return _Unreadable()

    return read


def _frame_reader(kind: type[Message]) -> Callable[[bytes], Message]:
    """The same of a stream: it is read when its caller is known, so that it can be told at once."""

    def read(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError:
            raise _unreadable() from None

    return read


def _unreadable() -> InvalidArgument:
    return InvalidArgument.of(
        ("request", "is no message of this method's type, or nests deeper than 100 messages")
    )


async def _refuse(_request: Any, _call: Call) -> NoReturn:
    raise _unreadable()


async def _refuse_stream(request: Any, call: Call) -> AsyncIterator[Any]:
    await _refuse(request, call)
    yield  # type: ignore[unreachable]  # what makes it a stream


def _unary(endpoint: Endpoint, chain: Chain, forwarders: Forwarders) -> Any:
    rule, handler, run = endpoint.rule, endpoint.handler, chain.unary
    monotonic = chain.monotonic

    async def behaviour(request: Any, context: Context) -> Any:
        call = make_call(rule, context, monotonic)
        if FORWARDED_FOR in call.metadata:
            forwarders.read(call)
        try:
            if type(request) is _Unreadable:
                await run(rule, _refuse, endpoint.request_class(), call)
            reply = await run(rule, handler, request, call)
        except KronforceError as error:
            await _abort(error, call, context)
        if call.initial_metadata:
            await context.send_initial_metadata(tuple(call.initial_metadata))
        if call.trailing_metadata:
            context.set_trailing_metadata(tuple(call.trailing_metadata))
        return reply

    return behaviour


def _streaming(endpoint: Endpoint, chain: Chain, forwarders: Forwarders) -> Any:
    rule, monotonic = endpoint.rule, chain.monotonic

    async def behaviour(request: Any, context: Context) -> None:
        call = make_call(rule, context, monotonic)
        if FORWARDED_FOR in call.metadata:
            forwarders.read(call)
        handler = endpoint.handler
        if type(request) is _Unreadable:
            handler, request = _refuse_stream, endpoint.request_class()
        try:
            async with aclosing(chain.stream(rule, handler, request, call)) as replies:
                await _write_all(replies, call, context)
        except KronforceError as error:
            await _abort(error, call, context)
        if call.trailing_metadata:
            context.set_trailing_metadata(tuple(call.trailing_metadata))

    return behaviour


async def _write_all(replies: AsyncIterator[Any], call: Call, context: Context) -> None:
    """Until there are no more, or the call was ended in the middle of a write."""
    async for reply in replies:
        call.writing = True
        try:
            if call.initial_metadata:
                metadata, call.initial_metadata = call.initial_metadata, []
                await context.send_initial_metadata(tuple(metadata))
            await context.write(reply)
        except grpc.aio.InternalError:
            # Its caller left in the middle of this write, which is no fault of ours: said like
            # any other leaving, where grpc would log an error.
            raise asyncio.CancelledError from None
        finally:
            call.writing = False
        if call.ended is not None:
            return


async def _abort(error: KronforceError, call: Call, context: Context) -> NoReturn:
    status = to_status(error)
    trailing = (*call.trailing_metadata, (STATUS_KEY, status.SerializeToString()))
    try:
        await context.abort(_CODES[status.code], status.message, trailing)
    except grpc.aio.InternalError:
        # As above: it left before it was told.
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")


def make_call(rule: Method, context: Context, monotonic: Callable[[], float]) -> Call:
    """Ours, of what grpc knows."""
    left = context.time_remaining()
    return Call(
        method=rule.name,
        peer=peer_address(context.peer()),
        metadata=dict(context.invocation_metadata() or ()),
        deadline=None if left is None else monotonic() + left,
    )


@lru_cache(maxsize=4_096)
def peer_address(peer: str) -> str:
    """The address in `ipv4:127.0.0.1:1234` and `ipv6:[::1]:1234`."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return UNIX_PEER
    return unquote(rest).rpartition(":")[0].strip("[]")


def wrap_foreign(
    handler: grpc.RpcMethodHandler[Any, Any], rule: Method, chain: Chain
) -> grpc.RpcMethodHandler[Any, Any]:
    """Put the chain around a handler that expects a grpc context (health, reflection…)."""
    streams = handler.response_streaming
    method = next(filter(None, (getattr(handler, shape) for shape in _SHAPES)))
    behaviour = (
        _foreign_stream(method, rule, chain)
        if inspect.isasyncgenfunction(method)
        else _foreign_coroutine(method, rule, chain)
    )
    return _FACTORIES[handler.request_streaming, streams](
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


_SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def _foreign_coroutine(method: Any, rule: Method, chain: Chain) -> Any:
    async def behaviour(request: Any, context: Context) -> Any:
        call = make_call(rule, context, chain.monotonic)
        aborted: grpc.aio.AbortError | None = None

        async def handler(request: Any, _call: Call) -> Any:
            nonlocal aborted
            try:
                return await method(request, context)
            except grpc.aio.AbortError as error:
                # Its status is sent already; for the chain this call has ended well.
                aborted = error

        try:
            reply = await chain.unary(rule, handler, request, call)
        except KronforceError as error:
            await _abort(error, call, context)
        if aborted is not None:
            raise aborted
        return reply

    return behaviour


def _foreign_stream(method: Any, rule: Method, chain: Chain) -> Any:
    async def behaviour(request: Any, context: Context) -> None:
        call = make_call(rule, context, chain.monotonic)

        def handler(request: Any, _call: Call) -> Any:
            return method(request, context)

        try:
            async with aclosing(chain.stream(rule, handler, request, call)) as replies:
                await _write_all(replies, call, context)
        except KronforceError as error:
            await _abort(error, call, context)

    return behaviour


class GrpcTransport:
    """A `Transport` over a channel, which stays its owner's to close.

    `surface` is the way into the gateway that holds it (`http`, `mcp`); the server believes it and
    `peer` of those that it trusts.
    """

    def __init__(self, channel: grpc.aio.Channel, *, surface: str = "") -> None:
        self._channel = channel
        self._surface = surface
        self._callables: dict[str, Any] = {}

    async def unary(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - travels with the call as its deadline
        peer: str | None = None,
    ) -> Message:
        """The reply. Raises CallFailed."""
        call = self._callable(method)
        try:
            reply: Message = await call(
                request, metadata=self._pairs(metadata, peer), timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            raise CallFailed(_status_of(error)) from error
        return reply

    @asynccontextmanager
    async def server_stream(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the same
        peer: str | None = None,
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """Replies as they come; leaving the context cancels the call."""
        call = self._callable(method)(
            request, metadata=self._pairs(metadata, peer), timeout=timeout
        )
        try:
            yield _replies(call)
        finally:
            # An abandoned call would go on for ever (grpc/grpc#43462).
            call.cancel()

    @asynccontextmanager
    async def bidi(
        self,
        method: MethodDescriptor,
        requests: AsyncIterable[Message],
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the same
        peer: str | None = None,
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """The same with requests that the caller sends while it reads."""
        call = self._callable(method)(
            requests, metadata=self._pairs(metadata, peer), timeout=timeout
        )
        try:
            yield _replies(call)
        finally:
            call.cancel()

    def _pairs(
        self, metadata: Mapping[str, str] | None, peer: str | None
    ) -> tuple[tuple[str, str], ...] | None:
        pairs = tuple((name, _sendable(value)) for name, value in (metadata or {}).items())
        if peer is None:
            return pairs
        if not self._surface:
            return (*pairs, (FORWARDED_FOR, peer))
        return (*pairs, (FORWARDED_FOR, peer), (SURFACE, self._surface))

    def _callable(self, method: MethodDescriptor) -> Any:
        name = full_name(method)
        if name not in self._callables:
            shape = _SHAPES[2 * method.client_streaming + method.server_streaming]
            self._callables[name] = getattr(self._channel, shape)(
                name,
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
        return self._callables[name]


def _sendable(value: str) -> str:
    """The text as metadata can hold it, which fails the whole call otherwise.

    What a stranger put into a header is then what nobody's key is, and not a fault of ours.
    """
    if value.isascii() and value.isprintable():
        return value
    return "".join(each if " " <= each <= "~" else "?" for each in value)


async def _replies(call: Any) -> AsyncIterator[Message]:
    try:
        async for reply in call:
            yield reply
    except grpc.aio.AioRpcError as error:
        raise CallFailed(_status_of(error)) from error


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


# A controller that restarts is back within seconds: look for it often.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # One that vanished without a word is noticed within half a minute, also between calls.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # No such ping is sent while another has no answer, for which gRPC by itself waits a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Replies may be larger than requests.
    ("grpc.max_receive_message_length", 4 * MAX_MESSAGE_BYTES),
    # The controller is where the address says, whatever the environment says of the web.
    ("grpc.enable_http_proxy", 0),
)


def open_channel(address: str, *, tls: bool, ca_pem: bytes | None = None) -> grpc.aio.Channel:
    """A channel to a controller; it connects when it is used, again and again. The caller closes.

    `ca_pem`: who must have signed the controller's certificate; None: whom this host trusts.
    """
    if not tls:
        return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(ca_pem)
    return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)
