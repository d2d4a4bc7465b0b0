"""Agents that come at the same time take their sessions over in the same transaction.

After a controller's restart thousands come within seconds. An agent is in here once at a time: the
caller sees to that.
"""

from __future__ import annotations

from kronforce.clock import Clock
from kronforce.errors import AgentNotFound
from kronforce.store.agents import Opening
from kronforce.store.sessions import DELETED, TOGETHER, SessionOpened, open_sessions
from kronforce.store.store import Store
from kronforce.together import Together


class Openings:
    """Writes them."""

    def __init__(self, *, store: Store, clock: Clock, controller: str) -> None:
        self._store = store
        self._clock = clock
        self._controller = controller
        self._together = Together(self._write, limit=TOGETHER)

    async def open(self, opening: Opening) -> SessionOpened:
        """Raise the agent's epoch and read what it holds. Raises AgentNotFound if it is deleted."""
        opened = await self._together(opening)
        if opened is None:
            raise AgentNotFound(DELETED)
        return opened

    async def _write(self, openings: list[Opening]) -> list[SessionOpened | None]:
        return await self._store.write(
            open_sessions, openings, controller=self._controller, now=self._clock.now_us()
        )
