"""What is fuzzed: a decoder that a stranger reaches, and the inputs that it is given.

A check may let nothing out but what the decoder says it raises; any other exception is a crash.
It may be a plain function or a coroutine function, and is opened anew for each batch of inputs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

Check = Callable[[Any], Awaitable[None] | None]
Opened = Callable[[Path], AbstractAsyncContextManager[Check]]

# Inputs of one hypothesis run. What a check has opened lives as long, so that a whole controller
# neither starts for each input nor grows for ten minutes.
BATCH = 2_000


@dataclass(frozen=True, kw_only=True)
class Target:
    """One decoder."""

    name: str
    inputs: SearchStrategy[Any]
    opened: Opened
    batch: int = BATCH
    # Inputs in `make test`; few where one is a conversation with a whole controller.
    short: int = 200


def plain(name: str, inputs: SearchStrategy[Any], check: Check, **more: Any) -> Target:
    """A decoder that needs nothing around it."""

    @asynccontextmanager
    async def opened(_folder: Path) -> AsyncIterator[Check]:
        yield check

    return Target(name=name, inputs=inputs, opened=opened, **more)
