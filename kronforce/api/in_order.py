"""A stream of requests answered in order, with several under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from typing import Any, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


async def in_order(
    requests: AsyncIterable[Q], answer: Callable[[Q], Coroutine[Any, Any, R]], *, ahead: int
) -> AsyncGenerator[R, None]:
    """An answer for each request, in the order of the requests, at most `ahead` under way.

    The first error ends the stream. Close it (aclosing) when leaving early:
    what is under way is cancelled then.
    """
    queue: asyncio.Queue[asyncio.Future[R] | None] = asyncio.Queue(ahead)
    unread: set[asyncio.Future[R]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                task = asyncio.ensure_future(answer(request))
                unread.add(task)
                await queue.put(task)
        except Exception as error:  # noqa: BLE001 - the reader of answers gets it, in its place
            failed: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            unread.add(failed)
            await queue.put(failed)
        else:
            await queue.put(None)

    reader = asyncio.create_task(read())
    try:
        while (future := await queue.get()) is not None:
            result = await future
            unread.discard(future)
            yield result
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        for future in unread:
            future.cancel()
        await asyncio.gather(*unread, return_exceptions=True)
