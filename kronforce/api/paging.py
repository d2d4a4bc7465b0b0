"""Page sizes, page tokens and page numbers of every list call.

A token is opaque: the sort key to go on after, bound by a hash to the request
that it was made for (message type and filters, not the page's size). One that
was made for another filter, or not here, is refused with INVALID_PAGE_TOKEN.
It grants nothing: every query filters by the caller's scope again. What it
holds is checked against the types of the list's sort key, so that no value of
a caller's reaches SQL in a shape that the list did not make.

A page by number is for people who leaf through the start of a list: it skips
rows, which costs what it skips, and rows that come meanwhile move what follows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any, Protocol, cast

from google.protobuf.message import Message

from kronforce.errors import InvalidArgument, InvalidPageToken
from kronforce.store.paging import COUNT_LIMIT, Page, PageRequest

DEFAULT_SIZE = 100
MAX_SIZE = 1_000

# Rows that pages by number may reach: as far as totals are counted.
NUMBERED_ROWS = COUNT_LIMIT

# Ours are below 1 KiB: names have at most 200 characters.
_MAX_TOKEN = 4_096
_TAG_BYTES = 12
_INT64_MAX = 2**63 - 1

# The types of a sort key's values; a tuple may also be a type that allows None.
Shape = tuple[type | tuple[type, ...], ...]


class ListRequest(Protocol):
    """What all list requests have in common."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...
    @property
    def page(self) -> int: ...


def read_page(request: ListRequest, shape: Shape) -> PageRequest:
    """The page that a list request asks for; raises InvalidArgument or InvalidPageToken."""
    size = request.page_size
    if not 0 <= size <= MAX_SIZE:
        raise InvalidArgument.of(("page_size", f"is {size}; from 1 to {MAX_SIZE}, 0 for 100"))
    size = size or DEFAULT_SIZE
    if request.page:
        return PageRequest(size=size, skip=_skip(request, size))
    after = _read_token(request, shape) if request.page_token else None
    return PageRequest(size=size, after=after)


def _skip(request: ListRequest, size: int) -> int:
    last = -(-NUMBERED_ROWS // size)
    if request.page_token:
        raise InvalidArgument.of(("page", "cannot stand beside page_token: send one of them"))
    if not 1 <= request.page <= last:
        raise InvalidArgument.of(
            (
                "page",
                f"is {request.page}; from 1 to {last} at {size} a page; to go on beyond row"
                f" {NUMBERED_ROWS:,} send the page_token that the page before gave",
            )
        )
    return (request.page - 1) * size


def next_token(request: ListRequest, page: Page[Any]) -> str:
    """The token of the page after this one; empty if this was the last."""
    if page.next_after is None:
        return ""
    body = json.dumps([_plain(value) for value in page.next_after], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_tag(request, body) + body).rstrip(b"=").decode()


def _read_token(request: ListRequest, shape: Shape) -> tuple[Any, ...]:
    token = request.page_token
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        tag, body = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
        if len(token) > _MAX_TOKEN or not hmac.compare_digest(tag, _tag(request, body)):
            raise _refused()
        values = tuple(_value(item) for item in json.loads(body))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _refused() from error
    if not _fits(values, shape):
        raise _refused()
    return values


def _refused() -> InvalidPageToken:
    return InvalidPageToken(
        "page_token: was not made for this list with these filters; start over without it"
    )


def _tag(request: ListRequest, body: bytes) -> bytes:
    message = cast("Message", request)
    filters = type(message)()
    filters.CopyFrom(message)
    filters.ClearField("page_size")
    filters.ClearField("page")
    filters.ClearField("page_token")
    text = b"\x00".join(
        (message.DESCRIPTOR.full_name.encode(), filters.SerializeToString(deterministic=True), body)
    )
    return hashlib.blake2b(text, digest_size=_TAG_BYTES).digest()


def _fits(values: tuple[Any, ...], shape: Shape) -> bool:
    return len(values) == len(shape) and all(
        isinstance(value, kind) and not isinstance(value, bool) and _in_range(value)
        for value, kind in zip(values, shape, strict=True)
    )


def _in_range(value: object) -> bool:
    return not isinstance(value, int) or -_INT64_MAX <= value <= _INT64_MAX


def _plain(value: object) -> object:
    return {"b": value.hex()} if isinstance(value, bytes) else value


def _value(item: Any) -> Any:
    return bytes.fromhex(item["b"]) if isinstance(item, dict) else item
