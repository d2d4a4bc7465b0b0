"""Calls that wait: ended when their caller has gone, so that nobody is given work for nothing.

Only methods whose request says how long to `wait`; other calls are short and go on to their end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from kronforce_gateway import failures, requests

R = TypeVar("R")

# How the caller reached us, for what it is to call back.
REACHED_AT = "kronforce-reached-at"


async def until_gone(
    answer: Awaitable[R], receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
) -> R:
    """The answer. Raises Failure where the caller leaves first; the call is cancelled then."""
    call = asyncio.ensure_future(answer)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({call, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise failures.gone()
        return call.result()
    finally:
        leaving.cancel()
        call.cancel()
        # Whatever it had taken is given back before this returns.
        await asyncio.gather(call, leaving, return_exceptions=True)


async def _disconnected(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def reached_at(scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """`http://host:port`, as metadata of the call; nothing where the caller did not say."""
    host = requests.as_metadata(headers.get(b"host", b""))
    return {REACHED_AT: f"{scope['scheme']}://{host}"} if host else {}
