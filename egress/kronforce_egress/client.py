"""The client: a request goes out under a policy, redirects are followed by rule, a body comes in.

There is no pool, no cookie jar, no cache, no proxy from the environment, no `.netrc`, and bodies
are not decoded. A body is read only as fast as the caller takes it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from kronforce_egress.dialer import Dialer
from kronforce_egress.engine import exchange
from kronforce_egress.errors import BadRequest, BadResponse, TimedOut, TooManyRedirects
from kronforce_egress.headers import followed, redirected_method
from kronforce_egress.message import Hop, Request, Response
from kronforce_egress.policy import Policy
from kronforce_egress.resolver import Resolver, SystemResolver
from kronforce_egress.trust import Trust, make_context
from kronforce_egress.urls import Url, join_url

REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def _unheard(_hop: Hop) -> None:
    return


class EgressClient:
    """For one policy; safe to share, holds nothing but the system's certificates."""

    def __init__(self, policy: Policy, resolver: Resolver | None = None) -> None:
        self._dialer = Dialer(policy, resolver or SystemResolver())
        self._total_secs = policy.total_secs
        self._system_trust: ssl.SSLContext | None = None

    @asynccontextmanager
    async def send(
        self, request: Request, on_redirect: Callable[[Hop], Awaitable[None]] = _unheard
    ) -> AsyncIterator[Response]:
        """Send it and follow where it leads; the body is open within. Raises EgressError."""
        limit = asyncio.timeout(self._total_secs)
        try:
            async with limit, self._followed(request, on_redirect) as response:
                yield response
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(
                f"{request.url.site} took longer than {self._total_secs:g} s in all"
            ) from None

    @asynccontextmanager
    async def _followed(
        self, request: Request, on_redirect: Callable[[Hop], Awaitable[None]]
    ) -> AsyncIterator[Response]:
        redirects = 0
        while True:
            context = await self._context(request)
            async with exchange(self._dialer, context, request) as response:
                location = _location(response, request)
                if location is None:
                    yield response
                    return
                target = _redirected(request.url, location)
            redirects += 1
            if redirects > request.max_redirects:
                raise TooManyRedirects(_too_many(request, target, redirects))
            await on_redirect(Hop(status=response.status, source=request.url, target=target))
            request = _onward(request, response.status, target)

    async def _context(self, request: Request) -> ssl.SSLContext | None:
        if request.url.scheme != "https":
            return None
        if request.trust:
            return await asyncio.to_thread(make_context, request.trust)
        if self._system_trust is None:
            self._system_trust = await asyncio.to_thread(make_context, request.trust)
        return self._system_trust


def _location(response: Response, request: Request) -> str | None:
    """Where it sends us; None where it is the answer."""
    if not request.max_redirects or response.status == request.wanted_status:
        return None
    return (response.header("location") or None) if response.status in REDIRECTS else None


def _redirected(url: Url, location: str) -> Url:
    try:
        return join_url(url, location)
    except BadRequest as error:
        raise BadResponse(f"{url.site} redirects to an address that is none: {error}") from None


def _too_many(request: Request, target: Url, redirects: int) -> str:
    return (
        f"redirect {redirects} leads on to {target.site}, and max_redirects is "
        f"{request.max_redirects}; does it lead in a circle, or to a login page?"
    )


def _onward(request: Request, status: int, target: Url) -> Request:
    """The request that follows a redirect, without what is not for the next origin."""
    method = redirected_method(status, request.method)
    body = request.body if method == request.method else b""
    same = target.origin == request.url.origin
    return replace(
        request,
        url=target,
        method=method,
        headers=tuple(followed(request.headers, same_origin=same, body=bool(body))),
        body=body,
        trust=request.trust if same else Trust(ca_pem=request.trust.ca_pem),
    )
