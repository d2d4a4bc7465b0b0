"""The gRPC edge: makes a Call of a grpc context, and a status of an error.

The chain is put around each handler once, when the server is built, and not by
an interceptor that is asked at each call (`docs/adr/0003`): it costs nothing where
nothing happens. Only here, in `grpc_transport.py` (the other end), in
`server.py`, in `app.py` and in generated code is grpc imported.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message

from kronforce.api.access import Method
from kronforce.api.call import UNIX_PEER, Call
from kronforce.api.chain import Chain
from kronforce.api.forwarded import FORWARDED_FOR, Forwarders
from kronforce.api.grpc_transport import SHAPES, STATUS_KEY
from kronforce.api.services import Endpoint
from kronforce.api.status import to_status
from kronforce.errors import InvalidArgument, KronforceError

Context = grpc.aio.ServicerContext[Any, Any]

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
    method = next(filter(None, (getattr(handler, shape) for shape in SHAPES)))
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
