"""The API over a channel, for callers in Python: `Transport`'s end of the wire.

What it sends is what `grpc_edge.py` reads; errors come back as `CallFailed` with all they said.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from kronforce.api.access import full_name
from kronforce.api.chain import MAX_MESSAGE_BYTES
from kronforce.api.forwarded import FORWARDED_FOR, SURFACE
from kronforce.api.transport import CallFailed

# Where a google.rpc.Status travels.
STATUS_KEY = "grpc-status-details-bin"
# Of a method, by whether its client streams (2) and its server (1).
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


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
            shape = SHAPES[2 * method.client_streaming + method.server_streaming]
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
