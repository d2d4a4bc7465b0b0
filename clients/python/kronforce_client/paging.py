"""Walking a list page by page, as it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def pages(
    fetch: Callable[[str], Awaitable[tuple[Sequence[T], str]]],
) -> AsyncGenerator[T, None]:
    """The items of every page; `fetch` takes a page token and gives items and the next one."""
    token = ""
    while True:
        items, token = await fetch(token)
        for item in items:
            yield item
        if not token:
            return
