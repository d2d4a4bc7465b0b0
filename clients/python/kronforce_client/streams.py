"""What the client hands out for anything that comes bit by bit: iterate it, or hold it in `with`.

Leaving the block, or `aclose()`, cancels the call behind it. Walking away without either is
caught by the event loop when the generator is collected, but later than it need be.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """An async iterator that is also a context manager. One reader, once."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop: the call behind it is cancelled."""
        await self._items.aclose()
