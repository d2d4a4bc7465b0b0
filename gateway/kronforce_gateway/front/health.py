"""GET /api/health: what the controller says of itself, as load balancers read it.

Without its database a controller serves nobody, and neither does a gateway whose controller does
not answer: both are 503, with the body that GetHealth gives, so that whoever looks sees which.
"""

from __future__ import annotations

from http import HTTPStatus

from kronforce.api.transport import CallFailed, Transport
from kronforce.v1 import options_pb2, system_service_pb2
from kronforce.v1.system_service_pb2 import GetHealthRequest, GetHealthResponse
from kronforce_client.dialect import render
from kronforce_gateway import failures
from kronforce_gateway.calls import Receive, Scope, Send, peer_of, respond
from kronforce_gateway.front.own_paths import answer_json, check_verb
from kronforce_gateway.front.passage import admit

PATH = "/api/health"
# The controller itself gives its database two seconds.
LIMIT_SECS = 5.0

_SERVICE = system_service_pb2.DESCRIPTOR.services_by_name["SystemService"]
_GET_HEALTH = _SERVICE.methods_by_name["GetHealth"]


class Health:
    """An ASGI application for one path."""

    def __init__(self, transport: Transport, *, version: str) -> None:
        self._transport = transport
        self._version = version

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request. Raises Failure."""
        admit(scope, PATH, options_pb2.RATE_CLASS_PUBLIC)
        check_verb(scope, PATH)
        found = await self._ask(peer_of(scope))
        well = found.status != "unreachable" and found.db_ok
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        headers = {} if well else {"retry-after": str(failures.RETRY_SECS)}
        await respond(send, status, answer_json(scope, render(found)), headers)

    async def _ask(self, peer: str) -> GetHealthResponse:
        try:
            found = await self._transport.unary(
                _GET_HEALTH, GetHealthRequest(), timeout=LIMIT_SECS, peer=peer
            )
        except CallFailed:
            return GetHealthResponse(status="unreachable", version=self._version, db_ok=False)
        assert isinstance(found, GetHealthResponse)
        return found
