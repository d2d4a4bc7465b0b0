"""Who calls: the key in the header, or the one that a browser's session stands for.

A call with a cookie that changes something must come from a page of ours (`Origin`, or the
browser's own word in `Sec-Fetch-Site`) and bring the session's token in `X-CSRF-Token`; a cookie
alone proves only which browser it is.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from google.protobuf.message import Message

from kronforce.api.transport import CallFailed, Transport
from kronforce.v1 import key_service_pb2
from kronforce_gateway import failures
from kronforce_gateway.browser import cookies
from kronforce_gateway.browser.sessions import Session, Sessions
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.hosts import place_of

Scope = MutableMapping[str, Any]

# What any good key may call.
_WHO_AM_I = key_service_pb2.DESCRIPTOR.services_by_name["KeyService"].methods_by_name["WhoAmI"]

_READS = {"GET", "HEAD", "OPTIONS"}


class Callers:
    """Puts a session's key into a call, and asks whose a key is."""

    def __init__(self, sessions: Sessions, transport: Transport, *, public_url: str = "") -> None:
        self.sessions = sessions
        self._transport = transport
        # What browsers have it under, also where a proxy calls it by another name.
        self._public = place_of(public_url)

    def lend(
        self, scope: Scope, headers: Mapping[bytes, bytes], metadata: dict[str, str]
    ) -> Session | None:
        """The session whose key was put into the metadata; a key that came itself wins.

        Raises Failure where the call is no page's of ours.
        """
        if "authorization" in metadata or b"cookie" not in headers:
            return None
        session = self.find(scope, headers)
        if session is None:
            return None
        if scope["method"] not in _READS:
            self.check_origin(headers)
            check_token(session, headers)
        metadata["authorization"] = session.authorization
        return session

    def check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise Failure unless the request comes from a page of ours, or from no page."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        page = place_of(origin)
        if origin and (not page or page not in (host, self._public)):
            raise _refused(
                "CROSS_ORIGIN",
                f"a page of {origin[:200]} may not call this for you; use a key instead",
            )
        site = headers.get(b"sec-fetch-site", b"none")
        if not origin and site not in (b"same-origin", b"none"):
            raise _refused("CROSS_ORIGIN", "a page of another site may not call this for you")

    def find(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Session | None:
        """The session of the request's cookie."""
        secret = cookies.find(scope, headers)
        return self.sessions.find(secret) if secret else None

    def authorization(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """That of the key of the request's session; empty where there is none."""
        session = self.find(scope, headers)
        return session.authorization if session is not None else ""

    async def who(self, metadata: Mapping[str, str], peer: str) -> Message:
        """Whose key it is (WhoAmIResponse). Raises Failure where it is nobody's."""
        try:
            return await self._transport.unary(
                _WHO_AM_I, key_service_pb2.WhoAmIRequest(), metadata=metadata, peer=peer
            )
        except CallFailed as failed:
            raise failures.of_call(failed) from failed


def check_token(session: Session, headers: Mapping[bytes, bytes]) -> None:
    """Raise Failure unless the session's token came with the call."""
    token = headers.get(b"x-csrf-token", b"")
    if not hmac.compare_digest(token, session.csrf_token.encode()):
        raise _refused(
            "BAD_CSRF_TOKEN",
            "a call that changes something with a session's cookie needs its token as X-CSRF-Token;"
            " GET /api/auth/session tells it",
        )


def _refused(reason: str, error: str) -> Failure:
    return Failure(status=HTTPStatus.FORBIDDEN, error=error, reason=reason)
