"""How gateway and adapters call the API: one protocol, two implementations.

`local.LocalTransport` calls the servicers of this process through the chain,
`grpc_transport.GrpcTransport` a server over a channel. Both carry the same
metadata and fail with the same `CallFailed`, which the contract suite proves.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from google.protobuf import any_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from kronforce.errors import Code, Violation

Replies = AbstractAsyncContextManager[AsyncIterator[Message]]


class Transport(Protocol):
    """Calls by method descriptor.

    `timeout` is in seconds; None: no deadline of the caller's. `peer` is the address of whom it
    calls for, where that is not who holds the transport.
    """

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
        ...

    def server_stream(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        peer: str | None = None,
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
        peer: str | None = None,
    ) -> Replies:
        """The same with requests that the caller sends while it reads."""
        ...


class CallFailed(Exception):
    """A call through a `Transport` that did not end well, with all that the status says."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status
        self.code = Code(status.code) if status.code in _CODES else None
        self.message = status.message
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.violations: list[Violation] = []
        for detail in status.details:
            self._read(detail)

    def _read(self, detail: any_pb2.Any) -> None:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            self.reason, self.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            self.violations = [Violation(v.field, v.description) for v in bad.field_violations]


_CODES = {code.value for code in Code}
