"""The asynchronous client: one channel, one key, a namespace for each noun."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kronforce_client.agents import Agents
from kronforce_client.audit import Audit
from kronforce_client.calls import DEFAULT_TIMEOUT_SECS, Caller
from kronforce_client.discovery import Connection, Wanted, discover
from kronforce_client.events import Events
from kronforce_client.executions import Executions
from kronforce_client.groups import Groups
from kronforce_client.jobs import Jobs
from kronforce_client.keys import Keys
from kronforce_client.runs import Runs
from kronforce_client.stats import Stats
from kronforce_client.system import System
from kronforce_client.variables import Variables
from kronforce_client.webhooks import Webhooks


class AsyncClient:
    """`async with AsyncClient() as kf:`.

    Address and key come from the arguments, the environment (`KRONFORCE_ADDRESS`,
    `KRONFORCE_KEY`), the login context, or the controller's own host, in this order.
    """

    def __init__(
        self,
        address: str = "",
        key: str = "",
        *,
        ca_file: str = "",
        context: str = "",
        insecure: bool = False,
        timeout_secs: float = DEFAULT_TIMEOUT_SECS,
        connection: Connection | None = None,
    ) -> None:
        wanted = Wanted(
            address=address, key=key, ca_file=ca_file, context=context, insecure=insecure
        )
        self.connection = connection or discover(wanted)
        self._caller = Caller(self.connection, timeout_secs=timeout_secs)
        self.jobs = Jobs(self._caller)
        self.runs = Runs(self._caller)
        self.executions = Executions(self._caller)
        self.agents = Agents(self._caller)
        self.groups = Groups(self._caller)
        self.keys = Keys(self._caller)
        self.variables = Variables(self._caller)
        self.webhooks = Webhooks(self._caller)
        self.events = Events(self._caller)
        self.audit = Audit(self._caller)
        self.stats = Stats(self._caller)
        self.system = System(self._caller)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls that are open end."""
        await self._caller.close()
