"""The API for callers in this process: the same chain, the same errors, no wire.

A stream's servicer runs in a task of its own behind a short queue, because the
chain ends a call by cancelling its task, and that must not be the reader's.
Messages are handed over as they are: neither side may change one afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from kronforce.api.access import full_name
from kronforce.api.call import LOCAL_PEER, Call
from kronforce.api.chain import Chain
from kronforce.api.services import Endpoint
from kronforce.api.status import to_status
from kronforce.api.transport import CallFailed
from kronforce.errors import DeadlineExceeded, KronforceError, Unimplemented

# Replies that may wait for a reader; then the servicer waits, as it does on a slow connection. A
# frame of output is up to 1 MiB, and a hundred readers may stall at once.
BUFFERED_REPLIES = 2


class LocalTransport:
    """A `Transport` to the endpoints of this process. `peer` is whom it calls for."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], chain: Chain, *, peer: str = LOCAL_PEER
    ) -> None:
        self._endpoints = endpoints
        self._chain = chain
        self._peer = peer

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
        call = self._call(method, metadata, timeout, peer)
        timer = _arm(call, timeout)
        try:
            endpoint = self._endpoint(method)
            reply: Message = await self._chain.unary(endpoint.rule, endpoint.handler, request, call)
        except KronforceError as error:
            raise CallFailed(to_status(error)) from error
        finally:
            if timer is not None:
                timer.cancel()
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
        async with self._stream(method, request, metadata, timeout, peer) as replies:
            yield replies

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
        async with self._stream(method, aiter(requests), metadata, timeout, peer) as replies:
            yield replies

    @asynccontextmanager
    async def _stream(
        self,
        method: MethodDescriptor,
        request: Any,
        metadata: Mapping[str, str] | None,
        timeout: float | None,  # noqa: ASYNC109 - the same
        peer: str | None,
    ) -> AsyncIterator[AsyncIterator[Message]]:
        queue: asyncio.Queue[Message | CallFailed | None] = asyncio.Queue(BUFFERED_REPLIES)
        call = self._call(method, metadata, timeout, peer)
        pump = asyncio.create_task(self._pump(method, request, call, queue))
        timer = _arm(call, timeout)
        try:
            yield _drain(queue)
        finally:
            if timer is not None:
                timer.cancel()
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(
        self,
        method: MethodDescriptor,
        request: Any,
        call: Call,
        queue: asyncio.Queue[Message | CallFailed | None],
    ) -> None:
        try:
            endpoint = self._endpoint(method)
            replies = self._chain.stream(endpoint.rule, endpoint.handler, request, call)
            async with aclosing(replies):
                async for reply in replies:
                    await queue.put(reply)
        except KronforceError as error:
            await queue.put(CallFailed(to_status(error)))
        else:
            await queue.put(None)

    def _call(
        self,
        method: MethodDescriptor,
        metadata: Mapping[str, str] | None,
        seconds: float | None,
        peer: str | None,
    ) -> Call:
        return Call(
            method=full_name(method),
            peer=self._peer if peer is None else peer,
            metadata={key.lower(): value for key, value in (metadata or {}).items()},
            deadline=None if seconds is None else self._chain.monotonic() + seconds,
        )

    def _endpoint(self, method: MethodDescriptor) -> Endpoint:
        endpoint = self._endpoints.get(full_name(method))
        if endpoint is None:
            raise Unimplemented(f"{full_name(method)} is not served here")
        return endpoint


async def _drain(queue: asyncio.Queue[Message | CallFailed | None]) -> AsyncIterator[Message]:
    while (item := await queue.get()) is not None:
        if isinstance(item, CallFailed):
            raise item
        yield item


def _arm(call: Call, seconds: float | None) -> asyncio.TimerHandle | None:
    """End the call at its deadline, as grpc does on the wire."""
    if seconds is None:
        return None
    error = DeadlineExceeded("the deadline passed first; what was begun may still happen")
    return asyncio.get_running_loop().call_later(max(0.0, seconds), call.end, error)
