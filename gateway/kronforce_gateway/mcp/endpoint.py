"""`/mcp`: the MCP adapter as an ASGI application.

Before the SDK sees a request it is asked where it comes from and whose key it has; the SDK itself
is loaded, off the event loop, for the first that gets this far. `GET` is answered 405, as the
protocol allows: there is nothing that the server would tell a client unasked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from http import HTTPStatus

from google.protobuf.descriptor import ServiceDescriptor

from kronforce.api.transport import Transport
from kronforce.v1 import options_pb2
from kronforce_gateway import failures
from kronforce_gateway.calls import Receive, Scope, Send
from kronforce_gateway.failures import Failure
from kronforce_gateway.front import passage
from kronforce_gateway.mcp import callers, origin
from kronforce_gateway.mcp.catalogue import tools_of
from kronforce_gateway.mcp.rooms import Rooms

PATH = "/mcp"

_VERBS = ("POST", "DELETE")


class Mcp:
    """The adapter. `transport` is one whose calls come over MCP; `stop` ends every session."""

    def __init__(
        self,
        transport: Transport,
        services: Iterable[ServiceDescriptor],
        *,
        version: str,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self._transport = transport
        self._tools = tools_of(services)
        self._version = version
        self._allowed_hosts = frozenset(allowed_hosts)
        self._loading: asyncio.Task[Rooms] | None = None
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises Failure."""
        passage.admit(scope, PATH, options_pb2.RATE_CLASS_AUTHENTICATED)
        headers = passage.headers_of(scope)
        origin.check(headers, self._allowed_hosts)
        if scope["method"] not in _VERBS:
            raise failures.wrong_verb(scope["method"], PATH, _VERBS)
        if self._stopping:
            raise Failure(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                error="the gateway is stopping; try again in a moment",
                reason="UNAVAILABLE",
                headers={"retry-after": "2"},
            )
        rooms = await self._rooms()
        key = callers.key_of(headers)
        try:
            scope[callers.IN_SCOPE] = await callers.identify(self._transport, scope, headers)
        except Failure as failure:
            if callers.is_refused(failure):
                await rooms.close(key)
            raise
        room = rooms.of(key)
        await room.handle(scope, receive, send)

    async def _rooms(self) -> Rooms:
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._load), name="mcp-load")
        # Shielded: whoever came first may leave before it is done.
        return await asyncio.shield(self._loading)

    def _load(self) -> Rooms:
        # A second of work that nobody should wait for who has no AI client.
        from kronforce_gateway.mcp.server import manager_of, server_of  # noqa: PLC0415

        server = server_of(self._transport, self._tools, self._version)
        return Rooms(lambda: manager_of(server))

    async def stop(self) -> None:
        """End every session, and open no more."""
        self._stopping = True
        if self._loading is not None:
            rooms = await self._loading
            await rooms.close_all()


async def switched_off(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """What stands at `/mcp` where an operator wants none. Raises Failure."""
    raise Failure(
        status=HTTPStatus.NOT_FOUND,
        error="the MCP server is switched off here (--no-mcp-enabled, KRONFORCE_MCP_ENABLED)",
        reason="MCP_DISABLED",
    )
