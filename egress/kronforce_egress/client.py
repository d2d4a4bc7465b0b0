"""The client: a request goes out under a policy, redirects are followed by rule, a body comes in.

Each hop has a connection of its own, made by the `Dialer` and closed after it: nothing that one
caller's policy, certificate or credentials opened is ever used by another. There is no cookie jar,
no cache, no proxy from the environment, no `.netrc`, no decoding of bodies. The body is read only
as fast as the caller takes it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import httpcore2

from kronforce_egress.dialer import Dialer, tls_error, tls_reason
from kronforce_egress.errors import (
    BadRequest,
    BadResponse,
    CannotConnect,
    ResponseTooLarge,
    TimedOut,
    TlsFailed,
    TooManyRedirects,
)
from kronforce_egress.headers import Header, followed, redirected_method
from kronforce_egress.policy import Policy
from kronforce_egress.resolver import Resolver, SystemResolver
from kronforce_egress.trust import Trust, make_context
from kronforce_egress.urls import Url, join_url

# What it logs at DEBUG are headers: credentials, cookies.
logging.getLogger("httpcore2").setLevel(logging.INFO)

REDIRECTS = frozenset({301, 302, 303, 307, 308})
IDLE_SECS = 3_600.0
"""Longest silence of a peer that is there: a caller who waits longer says so."""
RESPONSE_BYTES = 64 << 20
DETAIL_MAX = 200


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


async def _unheard(_hop: Hop) -> None:
    return


class EgressClient:
    """For one policy; safe to share, holds nothing but the system's certificates."""

    def __init__(self, policy: Policy, resolver: Resolver | None = None) -> None:
        self._dialer = Dialer(policy, resolver or SystemResolver())
        self._system_trust: ssl.SSLContext | None = None

    @asynccontextmanager
    async def send(
        self, request: Request, on_redirect: Callable[[Hop], Awaitable[None]] = _unheard
    ) -> AsyncIterator[Response]:
        """Send it and follow where it leads; the body is open within. Raises EgressError."""
        redirects = 0
        while True:
            async with self._hop(request) as response:
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

    @asynccontextmanager
    async def _hop(self, request: Request) -> AsyncIterator[Response]:
        url = request.url
        connection = httpcore2.AsyncHTTPConnection(
            origin=httpcore2.Origin(url.scheme.encode(), url.host.name.encode(), url.port),
            ssl_context=await self._context(request),
            network_backend=self._dialer,
        )
        try:
            with _translated(url, request.idle_secs):
                answer = await connection.handle_async_request(_engines(request))
            body = _blocks(request, answer)
            try:
                yield _response(request, answer, body)
            finally:
                await body.aclose()
                await answer.aclose()
        finally:
            await connection.aclose()


def _engines(request: Request) -> httpcore2.Request:
    """The request as the engine takes it: every part given, nothing left for it to parse."""
    url = request.url
    headers = [
        (b"Host", url.authority.encode()),
        *((name.encode(), value.strip().encode()) for name, value in request.headers),
        (b"Accept-Encoding", b"identity"),
        (b"Connection", b"close"),
    ]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"Content-Length", str(len(request.body)).encode()))
    return httpcore2.Request(
        request.method.encode(),
        httpcore2.URL(
            scheme=url.scheme.encode(),
            host=url.host.name.encode(),
            port=url.port,
            target=url.target.encode(),
        ),
        headers=headers,
        content=request.body,
        extensions={"timeout": {"read": request.idle_secs, "write": request.idle_secs}},
    )


def _response(request: Request, answer: httpcore2.Response, body: AsyncIterator[bytes]) -> Response:
    phrase = cast(bytes, answer.extensions.get("reason_phrase", b""))
    return Response(
        url=request.url,
        method=request.method,
        status=answer.status,
        phrase=phrase.decode("latin-1"),
        headers=tuple((_text(name), _text(value)) for name, value in answer.headers),
        body=body,
    )


async def _blocks(request: Request, answer: httpcore2.Response) -> AsyncGenerator[bytes, None]:
    _refuse_announced(request, answer)
    left = request.max_bytes
    async with aclosing(answer.aiter_stream()) as blocks:
        while True:
            with _translated(request.url, request.idle_secs):
                block = await anext(blocks, None)
            if block is None:
                return
            if len(block) > left:
                if left:
                    yield block[:left]
                raise ResponseTooLarge(_too_large(request))
            left -= len(block)
            yield block


def _refuse_announced(request: Request, answer: httpcore2.Response) -> None:
    """A body that says that it is too large need not be waited for."""
    if request.method == "HEAD":
        return
    for name, value in answer.headers:
        announced = value.strip()
        if name.lower() == b"content-length" and announced.isdigit():
            size = int(announced[:20])
            if size > request.max_bytes:
                raise ResponseTooLarge(_too_large(request, f" of {size:,} bytes"))


def _too_large(request: Request, announced: str = "") -> str:
    return (
        f"the response{announced} is larger than max_response_bytes ({request.max_bytes:,}); "
        "raise it, or ask for less"
    )


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


@contextmanager
def _translated(url: Url, idle_secs: float) -> Iterator[None]:
    """The engine's errors as ours."""
    try:
        yield
    except httpcore2.TimeoutException:
        raise TimedOut(f"{url.site} said nothing for {idle_secs:g} s") from None
    except httpcore2.LocalProtocolError as error:
        raise BadRequest(f"the request cannot be sent: {error}") from None
    except httpcore2.RemoteProtocolError as error:
        raise BadResponse(_no_http(url, error)) from None
    except (httpcore2.NetworkError, OSError) as error:
        if tls_error(error) is not None:
            raise TlsFailed(f"{url.host.name}: {tls_reason(error)}") from None
        raise CannotConnect(f"the connection to {url.site} broke before the end") from None


def _no_http(url: Url, error: Exception) -> str:
    text = str(error)
    if "peer closed connection" in text:
        return f"{url.site} closed the connection before the end of its body"
    if "disconnected" in text:
        return f"{url.site} closed the connection without an answer"
    # Whole or not at all: half a secret, sent back in a broken line, would not be masked.
    detail = f" ({text})" if len(text) <= DETAIL_MAX else ""
    return f"what {url.site} sent is no HTTP/1.1{detail}"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
