"""The door: an ASGI application around another one, with one wrapper for everything.

In this order: whom it is for (`proxies`), by which name it came (`hosts`), its id
(`request_ids`); then the handler, which has it counted (`rate_limits`, through the passage); on
the way out headers (`security_headers`), compression, counts. Each is a plain function over what
is known of the request, because a wrapper each would cost more than what they do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from kronforce_gateway.calls import Receive, Scope, Send, respond
from kronforce_gateway.failures import Failure
from kronforce_gateway.front import passage as passages
from kronforce_gateway.front import request_ids
from kronforce_gateway.front.compression import Compressing, takes_gzip
from kronforce_gateway.front.counts import HttpCounts
from kronforce_gateway.front.hosts import Hosts
from kronforce_gateway.front.passage import Passage
from kronforce_gateway.front.proxies import Proxies
from kronforce_gateway.front.rate_limits import RateLimits
from kronforce_gateway.front.security_headers import security_headers
from kronforce_gateway.front.settings import FrontSettings

App = Callable[[Scope, Receive, Send], Awaitable[None]]
# The Authorization that a browser's session stands for; empty where there is none.
SessionKey = Callable[[Scope, Mapping[bytes, bytes]], str]

log = logging.getLogger("kronforce.http")


class Front:
    """Wraps the gateway's handlers; one per gateway."""

    def __init__(
        self,
        app: App,
        settings: FrontSettings,
        *,
        monotonic: Callable[[], float],
        session_key: SessionKey = lambda _scope, _headers: "",
    ) -> None:
        self._app = app
        self._session_key = session_key
        self._monotonic = monotonic
        self._limits = RateLimits(settings.rate_limits, monotonic)
        self._proxies = Proxies(settings.trusted_proxies)
        self._hosts = Hosts(settings.allowed_hosts)
        self._ids = request_ids.RequestIds()
        self.counts = HttpCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = self._monotonic()
        headers = dict(scope["headers"])
        passage = self._enter(scope, headers)
        reply = self._replying(scope, passage, send)
        if takes_gzip(headers.get(b"accept-encoding")) and scope["method"] != "HEAD":
            reply = Compressing(reply)
        self.counts.open += 1
        try:
            self._check(scope, passage)
            await self._app(scope, receive, reply)
        except Failure as failure:
            if passage.status:
                # The answer has begun; cutting it short is all that is left.
                raise
            await _refuse(scope, reply, failure, passage)
        except Exception as error:  # noqa: BLE001 - logged whole; its text is not the caller's
            await self._fault(scope, reply, error, passage)
        finally:
            self.counts.open -= 1
            now = self._monotonic()
            self.counts.count(scope["method"], passage, now - started, now)

    def _enter(self, scope: Scope, headers: dict[bytes, bytes]) -> Passage:
        client = scope.get("client")
        sent = headers.get(request_ids.HEADER)
        request_id = self._ids.take(sent)
        if sent is None or sent.decode("latin-1") != request_id:
            headers[request_ids.HEADER] = request_id.encode()
        passage = Passage(
            headers,
            peer=client[0] if client else "unix",
            request_id=request_id,
            limits=self._limits.admit,
        )
        scope[passages.KEY] = passage
        return passage

    def _check(self, scope: Scope, passage: Passage) -> None:
        """Whom it is for and by which name it came. Raises Failure."""
        if self._proxies and self._proxies.trusts(passage.peer):
            caller, scheme = self._proxies.behind(passage.peer, scope["headers"])
            if caller != passage.peer:
                passage.peer = caller
                scope["client"] = (caller, 0)
            if scheme:
                scope["scheme"] = scheme
        host = passage.headers.get(b"host")
        if host is not None:
            self._hosts.check(host)
        if not passage.authorization and b"cookie" in passage.headers:
            passage.authorization = self._session_key(scope, passage.headers).encode()

    def _replying(self, scope: Scope, passage: Passage, send: Send) -> Send:
        request_id = (request_ids.HEADER, passage.headers[request_ids.HEADER])
        head_only = scope["method"] == "HEAD"

        def reply(message: Any) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                headers = message["headers"]
                if head_only:
                    # It would be the length of a GET's body, which nobody has made.
                    headers = [each for each in headers if each[0] != b"content-length"]
                message["headers"] = [
                    *headers,
                    request_id,
                    *passage.replied,
                    *security_headers(headers, tls=scope["scheme"] == "https"),
                ]
            return send(message)

        return reply

    async def _fault(self, scope: Scope, reply: Send, error: Exception, passage: Passage) -> None:
        """What nobody foresaw: the caller gets its id and nothing else."""
        log.error(
            "an HTTP call failed for a reason of ours",
            extra={
                "action": "http.fault",
                "route": passage.route,
                "request_id": passage.request_id,
            },
            exc_info=error,
        )
        if passage.status:
            raise error
        failure = Failure(
            status=HTTPStatus.INTERNAL_SERVER_ERROR,
            error=f"something went wrong here; its log has more under {passage.request_id}",
            reason="INTERNAL",
        )
        await _refuse(scope, reply, failure, passage)


async def _refuse(scope: Scope, reply: Send, failure: Failure, passage: Passage) -> None:
    passage.reason = failure.reason
    body = b"" if scope["method"] == "HEAD" else failure.body()
    await respond(reply, failure.status, body, failure.headers)
