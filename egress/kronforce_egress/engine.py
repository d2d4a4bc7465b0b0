"""One hop: a request to the engine (httpcore2) and back, on a connection of its own.

What is the engine's stays here: its requests, its responses, its errors. A connection is made by
the `Dialer` and closed after one answer, so that nothing which one caller's policy, certificate or
credentials opened is ever used by another.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
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
)
from kronforce_egress.message import Request, Response
from kronforce_egress.urls import Url

# What it logs at DEBUG are headers: credentials, cookies.
logging.getLogger("httpcore2").setLevel(logging.INFO)

WITHOUT_BODY = frozenset({204, 304})
DETAIL_MAX = 200
"""Of the engine's own words about a broken answer, which quote it."""


@asynccontextmanager
async def exchange(
    dialer: Dialer, context: ssl.SSLContext | None, request: Request
) -> AsyncIterator[Response]:
    """Send it and give the answer, whose body is open within. Raises EgressError."""
    url = request.url
    connection = httpcore2.AsyncHTTPConnection(
        origin=httpcore2.Origin(url.scheme.encode(), url.host.name.encode(), url.port),
        ssl_context=context,
        network_backend=dialer,
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
    if request.method == "HEAD" or answer.status in WITHOUT_BODY:
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
