"""What may be said in a request's headers, and what of it follows a redirect. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
HEADERS_MAX = 100
HEADERS_BYTES_MAX = 64 << 10
BODY_BYTES_MAX = 1 << 20

Header = tuple[str, str]

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""The connection's own. A body is asked for as it is (`Accept-Encoding: identity`), because what
comes is passed on as it comes. There is no proxy, so nothing to authorise to one."""

HARMLESS = frozenset(
    {
        "accept",
        "accept-language",
        "cache-control",
        "content-language",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "range",
        "traceparent",
        "tracestate",
        "user-agent",
    }
)
"""What follows a redirect to another origin. A list of what may, because credentials travel under
any name: Authorization, Cookie, X-Api-Key, PRIVATE-TOKEN."""

_OF_A_BODY = frozenset({"content-language", "content-type"})


def header_problem(name: str, value: str) -> str:
    """What is wrong with a header, or nothing."""
    if not _NAME.fullmatch(name):
        return "is no name of a header; use letters, digits and -"
    if name.lower() in OURS:
        return "is set by the client itself; leave it out"
    if _CONTROL.search(value.strip()):
        return "has a line break or another control character in it"
    return ""


def headers_size(headers: Iterable[Header]) -> int:
    """Bytes of names and values together."""
    return sum(len(name.encode()) + len(value.encode()) for name, value in headers)


def redirected_method(status: int, method: str) -> str:
    """What a redirect is followed with, as every client does: 303, and 301 and 302 of a POST."""
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        return "GET"
    return method


def followed(headers: Iterable[Header], *, same_origin: bool, body: bool) -> Iterator[Header]:
    """The headers that go on to the next origin."""
    for name, value in headers:
        lower = name.lower()
        if (same_origin or lower in HARMLESS) and (body or lower not in _OF_A_BODY):
            yield name, value
