"""Sessions, a room for each key: nobody gets into another key's, and all of one's end at once.

The protocol's earlier revisions keep sessions. Each key that calls gets a session manager of its
own, held open by a task; a key that is found revoked loses it with everything in it. Rooms that
nobody uses are closed when a new one is opened, the longest unused first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Protocol

from kronforce_gateway.calls import Receive, Scope, Send
from kronforce_gateway.failures import Failure

# Keys with sessions at a time. An idle room is some 20 KB, with sessions more.
MAX_ROOMS = 1_000
# Beyond this no session in it is alive.
IDLE_SECS = 35 * 60.0


class Manager(Protocol):
    """The part of the SDK's session manager that a room needs."""

    def run(self) -> AbstractAsyncContextManager[None]: ...
    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Room:
    """One key's session manager, held open by a task."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._opened = asyncio.Event()
        self._close = asyncio.Event()
        self._task = asyncio.create_task(self._hold(), name="mcp")
        self.requests = 0
        self.used_at = asyncio.get_running_loop().time()

    async def _hold(self) -> None:
        async with self._manager.run():
            self._opened.set()
            await self._close.wait()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.requests += 1
        try:
            await self._opened.wait()
            await self._manager.handle_request(scope, receive, send)
        finally:
            self.requests -= 1
            self.used_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """End its sessions and what is under way in them."""
        self._close.set()
        await asyncio.gather(self._task, return_exceptions=True)


class Rooms:
    """The rooms by key."""

    def __init__(self, manager: Callable[[], Manager], *, max_rooms: int = MAX_ROOMS) -> None:
        self._manager = manager
        self._max_rooms = max_rooms
        # In the order of their last use.
        self._rooms: dict[bytes, Room] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._rooms)

    def of(self, key: bytes) -> Room:
        """The key's room, opened if there is none. Raises Failure where no more fit.

        Nothing is waited for: a room that was just found must not be closed before it is used.
        """
        room = self._rooms.pop(key, None)
        if room is None:
            self._make_place()
            room = Room(self._manager())
        self._rooms[key] = room
        return room

    def _make_place(self) -> None:
        """Close what is not used any more, or the longest unused if there is no place."""
        now = asyncio.get_running_loop().time()
        idle = [key for key, room in self._rooms.items() if not room.requests]
        gone = [key for key in idle if self._rooms[key].used_at + IDLE_SECS < now]
        if not gone and len(self._rooms) >= self._max_rooms:
            if not idle:
                raise Failure(
                    status=HTTPStatus.SERVICE_UNAVAILABLE,
                    error=f"{self._max_rooms} keys have AI clients at work; try again in a moment",
                    reason="OVERLOADED",
                )
            gone = idle[:1]
        for key in gone:
            closing = asyncio.create_task(self._rooms.pop(key).close(), name="mcp-close")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self, key: bytes) -> None:
        """End a key's sessions; nothing happens where it has none."""
        if (room := self._rooms.pop(key, None)) is not None:
            await room.close()

    async def close_all(self) -> None:
        """End everything."""
        rooms, self._rooms = self._rooms, {}
        await asyncio.gather(*self._closing, *(room.close() for room in rooms.values()))
