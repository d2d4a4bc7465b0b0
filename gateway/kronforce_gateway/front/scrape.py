"""GET /metrics on the gateway's port, for Prometheus.

Documented as open to all; so it is where only this machine can ask (the port is on loopback, and
whoever calls is on it and came through no proxy) and where the operator says so. From anywhere else
it needs a key, any: how much runs here is nobody's business by default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from kronforce.api.transport import CallFailed, Transport
from kronforce.v1 import key_service_pb2, options_pb2
from kronforce_gateway import failures, requests
from kronforce_gateway.calls import Receive, Scope, Send, peer_of, respond
from kronforce_gateway.front.hosts import is_loopback
from kronforce_gateway.front.own_paths import check_verb
from kronforce_gateway.front.passage import admit, headers_of

PATH = "/metrics"
# The version that every Prometheus reads.
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_WHO_AM_I = key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].methods_by_name["WhoAmI"]
_OF_PROXIES = (b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip")

Text = Callable[[], Awaitable[bytes]]


class Scrape:
    """An ASGI application for one path. `local`: the port is on loopback; `public`: open to all."""

    def __init__(self, transport: Transport, text: Text, *, local: bool, public: bool) -> None:
        self._transport = transport
        self._text = text
        self._local = local
        self._public = public

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request. Raises Failure."""
        headers = headers_of(scope)
        is_open = self._public or (self._local and _is_here(scope, headers))
        kind = options_pb2.RATE_CLASS_PUBLIC if is_open else options_pb2.RATE_CLASS_AUTHENTICATED
        admit(scope, PATH, kind)
        check_verb(scope, PATH)
        if not is_open:
            await self._check_key(scope, headers)
        body = await self._text() if scope["method"] == "GET" else b""
        await respond(send, 200, body, {}, CONTENT_TYPE)

    async def _check_key(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        try:
            await self._transport.unary(
                _WHO_AM_I,
                key_service_pb2.WhoAmIRequest(),
                metadata=requests.forwarded(headers),
                peer=peer_of(scope),
            )
        except CallFailed as failed:
            raise failures.of_call(failed) from failed


def _is_here(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    return is_loopback(peer_of(scope)) and not any(name in headers for name in _OF_PROXIES)
