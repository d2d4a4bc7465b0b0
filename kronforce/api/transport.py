"""How gateway and adapters call the API: one protocol, two implementations.

`local.LocalTransport` calls the servicers of this process through the chain,
`grpc_edge.GrpcTransport` a server over a channel. Both carry the same
metadata and fail with the same `CallFailed`, which the contract suite proves.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

Replies = AbstractAsyncContextManager[AsyncIterator[Message]]


class Transport(Protocol):
    """Calls by method descriptor. `timeout` is in seconds; None: no deadline of the caller's."""

    async def unary(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - travels with the call as its deadline
    ) -> Message:
        """The reply. Raises CallFailed."""
        ...

    def server_stream(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Replies:
        """Replies as they come; leaving the context cancels the call. Raises CallFailed."""
        ...

    def bidi(
        self,
        method: MethodDescriptor,
        requests: AsyncIterable[Message],
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Replies:
        """The same with requests that the caller sends while it reads."""
        ...
