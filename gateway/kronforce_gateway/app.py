"""The gateway, put together: what is served where. Start reading here."""

from __future__ import annotations

import time
from collections.abc import Callable

from kronforce.api.transport import Transport
from kronforce.v1 import (
    agent_service_pb2,
    audit_service_pb2,
    event_service_pb2,
    execution_service_pb2,
    job_service_pb2,
    key_service_pb2,
    system_service_pb2,
    variable_service_pb2,
)
from kronforce_gateway.calls import Api, Receive, Scope, Send
from kronforce_gateway.front.counts import HttpCounts
from kronforce_gateway.front.front import Front
from kronforce_gateway.front.settings import FrontSettings
from kronforce_gateway.reference import FILES
from kronforce_gateway.static_files import StaticFiles

SERVICES = tuple(
    service
    for file in (
        agent_service_pb2,
        audit_service_pb2,
        event_service_pb2,
        execution_service_pb2,
        job_service_pb2,
        key_service_pb2,
        system_service_pb2,
        variable_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
)


class Gateway:
    """The ASGI application. It calls everything through the transport."""

    def __init__(
        self,
        transport: Transport,
        front: FrontSettings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = Api(transport, SERVICES)
        reference = StaticFiles(FILES)
        # What stands at a path of its own, beside the contract's.
        self._at = dict.fromkeys(reference.paths, reference)
        self._front = Front(self._serve, front or FrontSettings(), monotonic=monotonic)

    @property
    def counts(self) -> HttpCounts:
        """What was asked and how it ended."""
        return self._front.counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._front(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for one that has come through the door."""
        app = self._at.get(scope["path"], self._api)
        await app(scope, receive, send)
