"""The synchronous client: the asynchronous one behind a loop in a thread of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kronforce_client import sync_api
from kronforce_client.aio import AsyncClient
from kronforce_client.calls import DEFAULT_TIMEOUT_SECS
from kronforce_client.discovery import Connection
from kronforce_client.portal import Portal


class Client:
    """`with Client() as kf:`; takes what `AsyncClient` takes and has the same namespaces."""

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
        async def connect() -> AsyncClient:
            return AsyncClient(
                address,
                key,
                ca_file=ca_file,
                context=context,
                insecure=insecure,
                timeout_secs=timeout_secs,
                connection=connection,
            )

        self._portal = Portal.acquire()
        try:
            self._twin = self._portal.call(connect())
        except BaseException:
            Portal.release()
            raise
        self._open = True
        self.connection = self._twin.connection
        self.jobs = sync_api.Jobs(self._portal, self._twin.jobs)
        self.runs = sync_api.Runs(self._portal, self._twin.runs)
        self.executions = sync_api.Executions(self._portal, self._twin.executions)
        self.agents = sync_api.Agents(self._portal, self._twin.agents)
        self.groups = sync_api.Groups(self._portal, self._twin.groups)
        self.keys = sync_api.Keys(self._portal, self._twin.keys)
        self.variables = sync_api.Variables(self._portal, self._twin.variables)
        self.webhooks = sync_api.Webhooks(self._portal, self._twin.webhooks)
        self.events = sync_api.Events(self._portal, self._twin.events)
        self.audit = sync_api.Audit(self._portal, self._twin.audit)
        self.stats = sync_api.Stats(self._portal, self._twin.stats)
        self.system = sync_api.System(self._portal, self._twin.system)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls that are open end."""
        if self._open:
            self._open = False
            self._portal.call(self._twin.close())
            Portal.release()
