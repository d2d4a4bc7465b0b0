"""A request and its response, as callers see them; nothing of the engine is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from kronforce_egress.headers import Header
from kronforce_egress.trust import Trust
from kronforce_egress.urls import Url

IDLE_SECS = 3_600.0
"""Longest silence of a peer that is there: a caller who waits longer says so."""
RESPONSE_BYTES = 64 << 20
"""Largest body, unless the caller says otherwise."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Request:
    """What to send, and how much may come of it. Headers were checked (`header_problem`)."""

    url: Url
    method: str = "GET"
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    trust: Trust = field(default_factory=Trust)
    max_redirects: int = 10
    """0: a redirect is the answer."""
    wanted_status: int = 0
    """A redirect with this status is the answer, too."""
    max_bytes: int = RESPONSE_BYTES
    idle_secs: float = IDLE_SECS


@dataclass(frozen=True, kw_only=True, repr=False)
class Response:
    """The answer's head, and its body in the blocks that come; EgressError may come, too."""

    url: Url
    method: str
    status: int
    phrase: str
    headers: tuple[Header, ...]
    body: AsyncIterator[bytes]

    def header(self, name: str) -> str:
        """The first of this name, in lower case; empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True, kw_only=True)
class Hop:
    """A redirect that is followed."""

    status: int
    source: Url
    target: Url
