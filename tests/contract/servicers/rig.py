"""The servicers with their use cases on a real store, called through the chain as a key would.

The engine is there without its loops, so that nothing moves by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from kronforce.api.agent_servicer import AgentServicer
from kronforce.api.audit_servicer import AuditServicer
from kronforce.api.chain import Chain
from kronforce.api.event_servicer import EventServicer
from kronforce.api.execution_servicer import ExecutionServicer
from kronforce.api.identity import Identity
from kronforce.api.in_flight import InFlight, Keeper
from kronforce.api.job_servicer import JobServicer
from kronforce.api.key_servicer import KeyServicer
from kronforce.api.local import LocalTransport
from kronforce.api.refusals import recorder
from kronforce.api.services import Service, endpoints_of
from kronforce.api.stats_servicer import StatsServicer
from kronforce.api.system_servicer import About, SystemServicer
from kronforce.api.throttle import Throttle
from kronforce.api.transport import CallFailed
from kronforce.api.variable_servicer import VariableServicer
from kronforce.api.webhook_servicer import WebhookServicer
from kronforce.clock import ManualClock
from kronforce.core.ids import IdSource
from kronforce.engine.agents.changes import Agents
from kronforce.engine.agents.task_types import TaskTypes
from kronforce.engine.audit_log import AuditLog
from kronforce.engine.engine import Engine, Limits
from kronforce.engine.jobs import Jobs
from kronforce.engine.values import key_rotation
from kronforce.engine.values.variables import Variables
from kronforce.engine.webhooks.firing import Deliveries
from kronforce.engine.webhooks.managing import Webhooks
from kronforce.security import keys
from kronforce.security.envelope import Keyring, MasterKey
from kronforce.store import keys as stored_keys
from kronforce.store.database import Database
from kronforce.store.groups import pending_renames
from kronforce.store.store import Store
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import (
    agent_service_pb2,
    api_key_pb2,
    audit_service_pb2,
    event_service_pb2,
    execution_service_pb2,
    job_service_pb2,
    key_service_pb2,
    stats_service_pb2,
    system_service_pb2,
    variable_service_pb2,
    webhook_service_pb2,
)

SERVICES = {
    "JobService": job_service_pb2,
    "ExecutionService": execution_service_pb2,
    "EventService": event_service_pb2,
    "AgentService": agent_service_pb2,
    "VariableService": variable_service_pb2,
    "AuditService": audit_service_pb2,
    "KeyService": key_service_pb2,
    "StatsService": stats_service_pb2,
    "SystemService": system_service_pb2,
    "WebhookService": webhook_service_pb2,
}


class Rig:
    """Call with `await rig.call("JobService.GetJob", request, key="admin")`."""

    def __init__(self, *, transport: LocalTransport, clock: ManualClock, store: Store):
        self._transport = transport
        self.clock = clock
        self.store = store
        self.secrets: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, database: Database, clock: ManualClock) -> AsyncIterator[Rig]:
        store = Store(database, clock)
        new_id = IdSource(clock, random.Random(7))
        keyring = Keyring(MasterKey(b"m" * 32))
        engine = Engine(
            store=store,
            clock=clock,
            new_id=new_id,
            limits=Limits(
                folders=[Path()], disk_reserve=0, max_pending=1_000, retention=timedelta(days=30)
            ),
            keyring=keyring,
            controller="test",
            version="0",
        )
        jobs = Jobs(
            store=store,
            clock=clock,
            new_id=new_id,
            scheduler=engine.scheduler,
            snapshots=engine.snapshots,
            triggering=engine.triggering,
            deleted_jobs=engine.deleted_jobs,
            trust_operators=False,
        )
        agents = Agents(
            store=store,
            clock=clock,
            new_id=new_id,
            directory=engine.directory,
            sessions=engine.sessions,
        )
        throttle = Throttle(clock)
        identity = Identity(store=store, clock=clock, throttle=throttle)
        in_flight = InFlight(clock)
        keeper = Keeper(identity=identity, in_flight=in_flight, clock=clock)
        variables = Variables(
            store=store,
            clock=clock,
            new_id=new_id,
            keyring=keyring,
            cache=engine.variables,
            trust_operators=False,
        )
        audit_log = AuditLog(store=store, clock=clock)
        about = About(started_at=0, sqlite=True, location="here", folders=[Path()], disk_reserve=0)
        servicers = {
            "JobService": JobServicer(
                store=store,
                clock=clock,
                jobs=jobs,
                groups=engine.groups,
                rekeyed=keeper.recheck,
                triggering=engine.triggering,
                watching=engine.views,
                rerunning=engine.rerunning,
                history=engine.retention,
            ),
            "ExecutionService": ExecutionServicer(
                store=store,
                watching=engine.views,
                cancelling=engine.cancelling,
                reasons=engine.reasons,
                explaining=engine.explaining,
            ),
            "EventService": EventServicer(store=store, clock=clock),
            "AgentService": AgentServicer(
                store=store,
                agents=agents,
                sessions=engine.sessions,
                polls=engine.polls,
                pull_calls=engine.pull_calls,
                task_types=TaskTypes(
                    store=store,
                    clock=clock,
                    directory=engine.directory,
                    sessions=engine.sessions,
                ),
            ),
            "VariableService": VariableServicer(store=store, clock=clock, variables=variables),
            "AuditService": AuditServicer(store=store, audit_log=audit_log),
            "KeyService": KeyServicer(
                store=store, clock=clock, new_id=new_id, revoked=keeper.recheck
            ),
            "StatsService": StatsServicer(
                store=store,
                clock=clock,
                folding=engine.folding,
                tally=engine.job_tally,
                begin_tally=lambda: engine.job_tally.begin(engine.scheduler, engine.tasks),
            ),
            "SystemService": SystemServicer(store=store, about=about, variables=variables),
            "WebhookService": WebhookServicer(
                webhooks=Webhooks(store=store, clock=clock, new_id=new_id, keyring=keyring),
                deliveries=Deliveries(
                    store=store,
                    clock=clock,
                    keyring=keyring,
                    triggering=engine.triggering,
                    snapshots=engine.snapshots,
                ),
                throttle=throttle,
                public_url="https://kf.example/",
            ),
        }
        chain = Chain(
            identity=identity,
            in_flight=in_flight,
            counts=CallCounts(),
            clock=clock,
            refused=recorder(audit_log),
        )
        endpoints = endpoints_of(
            [
                Service(descriptor=SERVICES[name].DESCRIPTOR.services_by_name[name], servicer=one)
                for name, one in servicers.items()
            ],
            loopback=True,
        )
        await store.start()
        try:
            # The loops stay off: nothing moves but what a test calls.
            await engine.keys.fill()
            await key_rotation.ensure_key(store, keyring, key_id=new_id(), now=clock.now_us())
            rig = cls(transport=LocalTransport(endpoints, chain), clock=clock, store=store)
            await rig.add_key("admin", api_key_pb2.ROLE_ADMIN, new_id())
            await rig.add_key("operator", api_key_pb2.ROLE_OPERATOR, new_id())
            await rig.add_key("viewer", api_key_pb2.ROLE_VIEWER, new_id())
            await rig.add_key("enroller", api_key_pb2.ROLE_AGENT, new_id())
            await rig.add_key("web", api_key_pb2.ROLE_OPERATOR, new_id(), groups=["web"])
            yield rig
        finally:
            await store.stop()

    async def settle(self) -> None:
        """Let what runs in the background move the history of renamed groups."""
        async with asyncio.timeout(10):
            while await self.store.read(pending_renames):
                self.clock.advance(timedelta(seconds=1))

    async def add_key(
        self, name: str, role: int, key_id: bytes, *, groups: Sequence[str] = ()
    ) -> None:
        """A key that tests call with by its name."""
        secret = keys.new_api_key()
        await self.store.write(
            stored_keys.insert_key,
            id=key_id,
            name=name,
            role=role,
            prefix=keys.shown_prefix(secret),
            hash=keys.hash_of(secret.reveal()),
            allowed_groups=groups,
            allowed_networks=(),
            created_at=self.clock.now_us(),
            expires_at=None,
        )
        self.secrets[name] = secret.reveal()

    async def call(self, method: str, request: Message, *, key: str = "admin") -> Any:
        """The reply; raises CallFailed. `key` is a name of `secrets`, or empty for none."""
        return await self._transport.unary(_method(method), request, metadata=self._metadata(key))

    def follow(self, method: str, request: Message, *, key: str = "admin") -> Any:
        """The replies of a server stream, as a context."""
        return self._transport.server_stream(_method(method), request, metadata=self._metadata(key))

    def bidi(self, method: str, requests: Any, *, key: str = "admin") -> Any:
        """The replies of a stream in both directions, as a context."""
        return self._transport.bidi(_method(method), requests, metadata=self._metadata(key))

    async def refused(self, method: str, request: Message, *, key: str = "admin") -> CallFailed:
        """The refusal of a call that must not succeed."""
        with pytest.raises(CallFailed) as refused:
            await self.call(method, request, key=key)
        return refused.value

    def _metadata(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secrets[key]}"} if key else {}


def _method(name: str) -> Any:
    service, method = name.split(".")
    descriptor = SERVICES[service].DESCRIPTOR.services_by_name[service]
    return descriptor.methods_by_name[method]
