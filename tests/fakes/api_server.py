"""A controller in memory, over a real loopback socket, for tests of the client and the command.

It keeps jobs, runs, agents, keys and events in dictionaries and answers with the contract's own
messages, error details included. A run does what the `Story` of its job says. It decides nothing
that the real controller decides (no schedules, no admission); a test that needs that belongs to
the system tests. Faults: `cut_streams()` ends every open stream as a dying server would, and
`refuse` makes the next calls of a method fail.
"""

from __future__ import annotations

import asyncio
from typing import Self

import grpc

from kronforce.v1 import (
    agent_service_pb2_grpc,
    audit_service_pb2_grpc,
    event_service_pb2_grpc,
    execution_service_pb2_grpc,
    job_service_pb2_grpc,
    key_service_pb2_grpc,
    stats_service_pb2_grpc,
    system_service_pb2_grpc,
    variable_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from tests.fakes.api.agents import FakeAgents
from tests.fakes.api.audit_log import FakeAudit
from tests.fakes.api.events import FakeEvents
from tests.fakes.api.executions import FakeExecutions
from tests.fakes.api.interceptor import Errors
from tests.fakes.api.jobs import FakeJobs
from tests.fakes.api.keys import FakeKeys
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State
from tests.fakes.api.stats import FakeStats
from tests.fakes.api.story import STATES, STDERR, STDOUT, Story
from tests.fakes.api.system import FakeSystem
from tests.fakes.api.variables import FakeVariables
from tests.fakes.api.webhooks import FakeWebhooks

__all__ = ["KEY", "STATES", "STDERR", "STDOUT", "FakeController", "Refused", "Story"]

KEY = "kf_" + "a" * 43


class FakeController(State):
    """The server; `async with FakeController() as fake:`, then `fake.address`."""

    def __init__(self) -> None:
        super().__init__()
        self.webhooks = FakeWebhooks(self.find_job)
        self.audit = FakeAudit()
        self.stats = FakeStats()
        self.calls: list[str] = []
        self.later_refusals: list[tuple[str, int, Refused]] = []
        self.refusals: list[tuple[str, Refused]] = []
        self.open_streams = 0
        self.stream_tasks: set[asyncio.Task] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.close()

    async def start(self, port: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = grpc.aio.server(interceptors=[Errors(self)])
        self._add_services()
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        await self.server.start()

    def _add_services(self) -> None:
        job_service_pb2_grpc.add_JobServiceServicer_to_server(FakeJobs(self), self.server)
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(
            FakeExecutions(self), self.server
        )
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(FakeAgents(self), self.server)
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(FakeKeys(self), self.server)
        event_service_pb2_grpc.add_EventServiceServicer_to_server(FakeEvents(self), self.server)
        system_service_pb2_grpc.add_SystemServiceServicer_to_server(FakeSystem(self), self.server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, self.server)
        stats_service_pb2_grpc.add_StatsServiceServicer_to_server(self.stats, self.server)
        variable_service_pb2_grpc.add_VariableServiceServicer_to_server(
            FakeVariables(self.variables), self.server
        )
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(self.webhooks, self.server)

    async def stop(self) -> None:
        """Stop serving; runs go on, and `start(port)` serves again."""
        await self.server.stop(None)

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        for play in self.plays:
            play.cancel()
        await asyncio.gather(*self.plays, return_exceptions=True)

    # Faults.

    def refuse(self, method: str, error: Refused, times: int = 1) -> None:
        self.refusals += [(method, error)] * times

    def refuse_after(self, method: str, error: Refused, calls: int) -> None:
        """Refuse the next call of the method after so many that are let through."""
        self.later_refusals.append((method, self.calls.count(method) + calls, error))

    def enter(self, name: str, context) -> None:
        for each in list(self.later_refusals):
            if each[0] == name and self.calls.count(name) == each[1]:
                self.later_refusals.remove(each)
                self.calls.append(name)
                raise each[2]
        self.calls.append(name)
        for index, (method, error) in enumerate(self.refusals):
            if method == name:
                del self.refusals[index]
                raise error
        given = dict(context.invocation_metadata()).get("authorization", "")
        if name != "GetHealth" and given != f"Bearer {KEY}":
            raise Refused(
                grpc.StatusCode.UNAUTHENTICATED, "BAD_KEY", "no key was sent, or it is unknown"
            )
