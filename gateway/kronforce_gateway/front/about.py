"""GET /api/config: what a page or a client wants to know of this gateway before anybody signs in.

Public, so it says what any caller could find out by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kronforce.v1 import options_pb2
from kronforce_gateway.calls import MAX_BODY, Receive, Scope, Send, respond
from kronforce_gateway.front.own_paths import answer_json, check_verb
from kronforce_gateway.front.passage import admit
from kronforce_gateway.front.settings import FrontSettings

PATH = "/api/config"


class About:
    """An ASGI application for one path. `features`: what is on, asked at each call."""

    def __init__(self, settings: FrontSettings, features: Callable[[], Mapping[str, bool]]) -> None:
        self._settings = settings
        self._features = features

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request. Raises Failure."""
        admit(scope, PATH, options_pb2.RATE_CLASS_PUBLIC)
        check_verb(scope, PATH)
        await respond(send, 200, answer_json(scope, self._said()), {})

    def _said(self) -> dict[str, Any]:
        settings = self._settings
        limits = settings.rate_limits
        return {
            "version": settings.version,
            "public_url": settings.public_url,
            **self._features(),
            "rate_limits": {
                "enabled": any(limits.values()),
                "public": limits.get(options_pb2.RATE_CLASS_PUBLIC, 0),
                "authenticated": limits.get(options_pb2.RATE_CLASS_AUTHENTICATED, 0),
                "agent": limits.get(options_pb2.RATE_CLASS_AGENT, 0),
            },
            "limits": {"body_bytes": MAX_BODY},
        }
