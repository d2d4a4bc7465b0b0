"""The agent's hold on its launcher: attach or start it, and notice when it dies.

It knows nothing of executions: events go to a sink, and after each (re)attachment the sink gets
the launcher's inventory and decides. While the launcher is gone no command can be sent and
process tasks are refused; the next one has another boot id, which opens a new session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kronforce_agent.clock import Clock
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient, LauncherError, LauncherOptions

log = logging.getLogger(__name__)

RESTART_SECS = 2.0
"""Between attempts to bring the launcher back: it may fail for as long as a disk is full."""
INVENTORY_TIMEOUT_SECS = 10.0
"""From Welcome to Inventory, which the launcher sends in one breath."""


class Sink(Protocol):
    """Who hears what the launcher says."""

    def launcher_events(self, events: Sequence[protocol.Event]) -> None: ...

    def launcher_back(
        self, boot_id: str, inventory: protocol.Inventory, *, spool_full: bool
    ) -> None: ...


class Processes:
    """One launcher at a time; `attach` once, then `keep` for ever."""

    def __init__(self, data_dir: Path, clock: Clock, spool_max_bytes: int) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._options = LauncherOptions(spool_max_bytes=spool_max_bytes)
        self._client: LauncherClient | None = None
        self._sink: Sink | None = None
        self._early: list[protocol.Event] = []
        self._gone = asyncio.Event()
        self._stopping = False

    @property
    def client(self) -> LauncherClient | None:
        """The connection, while there is one."""
        return self._client if self._client is not None and self._client.connected else None

    async def attach(self) -> tuple[LauncherClient, protocol.Inventory]:
        """Find the living launcher or start one; leftovers of dead ones are gone afterwards.

        Raises LauncherError.
        """
        self._gone.clear()
        self._early.clear()
        first: asyncio.Future[protocol.Inventory] = asyncio.get_running_loop().create_future()

        def on_events(events: Sequence[protocol.Event]) -> None:
            rest = events
            if not first.done():
                assert isinstance(events[0], protocol.Inventory), "Inventory follows Welcome"
                first.set_result(events[0])
                rest = events[1:]
            self._deliver(rest)

        client = await LauncherClient.start_or_attach(
            self._data_dir, on_events, on_closed=self._closed, options=self._options
        )
        try:
            async with asyncio.timeout(INVENTORY_TIMEOUT_SECS):
                inventory = await first
        except TimeoutError:
            client.close()
            raise LauncherError("the launcher sent no inventory") from None
        self._client = client
        return client, inventory

    def deliver_to(self, sink: Sink) -> None:
        """From now on; what came since the inventory comes first."""
        self._sink = sink
        early, self._early = self._early, []
        if early:
            sink.launcher_events(early)

    async def keep(self, sink: Sink) -> None:
        """Bring the launcher back whenever it is gone."""
        while True:
            await self._gone.wait()
            self._sink = None
            log.error("the launcher is gone", extra={"action": "launcher_gone"})
            client, inventory = await self._attach_again()
            sink.launcher_back(client.boot_id, inventory, spool_full=client.spool_full_at_start)
            self.deliver_to(sink)

    def close(self) -> None:
        """Leave; the launcher and its tasks go on."""
        self._stopping = True
        if self._client is not None:
            self._client.close()

    async def _attach_again(self) -> tuple[LauncherClient, protocol.Inventory]:
        while True:
            try:
                return await self.attach()
            except (LauncherError, OSError) as error:
                log.error(
                    "no launcher: %s; trying again", error, extra={"action": "launcher_failed"}
                )
                await self._clock.sleep(RESTART_SECS)

    def _deliver(self, events: Sequence[protocol.Event]) -> None:
        if not events:
            return
        if self._sink is None:
            self._early += events
        else:
            self._sink.launcher_events(events)

    def _closed(self, _error: Exception | None) -> None:
        if not self._stopping:
            self._gone.set()
