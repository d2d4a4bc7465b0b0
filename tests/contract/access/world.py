"""A whole controller, wired as `kronforce up` wires it, with callers and two groups' things.

Whatever is made outside the limited keys' groups has a name that nothing else
has, and ids that are remembered: no reply to such a key may contain either.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from kronforce.api.chain import Chain
from kronforce.api.grpc_transport import GrpcTransport
from kronforce.api.local import LocalTransport
from kronforce.api.server import Server
from kronforce.api.transport import CallFailed, Transport
from kronforce.app import controller
from kronforce.clock import SystemClock
from kronforce.config import Config
from kronforce.core.access import Role
from kronforce.security import keys
from kronforce.store import keys as stored_keys
from kronforce.store.database import open_database, writing
from kronforce.v1 import (
    agent_service_pb2,
    execution_service_pb2,
    job_service_pb2,
    key_service_pb2,
    variable_service_pb2,
    webhook_service_pb2,
)
from kronforce.v1.agent_pb2 import AGENT_TYPE_CUSTOM
from kronforce.v1.agent_service_pb2 import RegisterAgentRequest
from kronforce.v1.api_key_pb2 import ApiKey
from kronforce.v1.api_key_pb2 import Role as KeyRole
from kronforce.v1.job_pb2 import Job, NoopTask, TaggedTarget, Target, Task
from kronforce.v1.options_pb2 import SURFACE_HTTP, SURFACE_MCP
from kronforce.v1.variable_pb2 import Variable
from kronforce_gateway.app import Gateway
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.front.settings import FrontSettings
from kronforce_gateway.mcp.endpoint import Mcp

# The group inside of every limited key's, and the one outside.
IN, OUT = "web", "hidden"
MINE = (IN, "Default", "web new", "web gone")
ADMIN_KEY = "kf_" + "0" * 43


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A kind of caller; `metadata` is what its calls carry."""

    name: str
    role: Role | None = None
    limited: bool = False
    # An agent's own credential, which is no key.
    credential: bool = False
    # Why its key is not good; empty: it is.
    bad: str = ""
    metadata: dict[str, str]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class World:
    """What requests are built from."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, database: str) -> None:
        self.transports: dict[str, Transport] = {
            "grpc": GrpcTransport(channel),
            "local": LocalTransport(server.endpoints, server.chain),
        }
        self.gateways = {
            "in process": _gateway(
                LocalTransport(server.endpoints, _chain_of(server.chain, SURFACE_HTTP)),
                LocalTransport(server.endpoints, _chain_of(server.chain, SURFACE_MCP)),
            ),
            "over a channel": _gateway(GrpcTransport(channel), GrpcTransport(channel)),
        }
        self.served = frozenset(server.endpoints)
        self.callers: list[Caller] = []
        self.agent_id = ""
        # Texts that no limited key may ever be shown.
        self.hidden: set[bytes] = {OUT.encode()}
        self._database = database
        self._chain: Any = server.chain
        self._numbers = itertools.count(1)

    def forgive(self) -> None:
        """Wrong keys are counted by address, and this test has one address for all of them."""
        self._chain._identity._throttle._failures.clear()

    async def admin(self, method: MethodDescriptor, request: Message) -> Any:
        return await self.transports["local"].unary(method, request, metadata=bearer(ADMIN_KEY))

    def name(self, side: str, what: str) -> str:
        return f"{side} {what} {next(self._numbers)}"

    def _remember(self, side: str, thing_id: str) -> str:
        if side == OUT:
            self.hidden.add(thing_id.encode())
        return thing_id

    # Things of a group.

    async def job(self, side: str) -> str:
        """A job that nobody can run, so that its runs stay where they are; its name."""
        job = Job(
            name=self.name(side, "job"),
            group=side,
            task=Task(noop=NoopTask()),
            target=Target(tagged=TaggedTarget(tag="nobody has it")),
        )
        made = await self.admin(_JOBS["CreateJob"], job_service_pb2.CreateJobRequest(job=job))
        self._remember(side, made.id)
        return str(made.name)

    async def webhook(self, side: str) -> Any:
        """A webhook of a job of its own, as it was issued."""
        request = webhook_service_pb2.EnableWebhookRequest(job_id=await self.job(side))
        return await self.admin(_WEBHOOKS["EnableWebhook"], request)

    async def run(self, side: str) -> Any:
        """A run that waits."""
        request = job_service_pb2.TriggerJobRequest(job_id=await self.job(side))
        made = await self.admin(_JOBS["TriggerJob"], request)
        self._remember(side, made.run.id)
        for execution in made.execution_ids:
            self._remember(side, execution)
        return made

    async def ended_run(self, side: str) -> str:
        run_id = (await self.run(side)).run.id
        request = execution_service_pb2.CancelRunRequest(run_id=run_id)
        await self.admin(_EXECUTIONS["CancelRun"], request)
        return str(run_id)

    async def custom_agent(self, side: str) -> str:
        """The same, one that polls."""
        return await self.agent(side, agent_type=AGENT_TYPE_CUSTOM)

    async def agent(self, side: str, **enrolment: Any) -> str:
        """An agent that is kept for the group; its name."""
        name = self.name(side, "agent")
        request = agent_service_pb2.CreateJoinTokenRequest(allowed_groups=[side])
        token = (await self.admin(_AGENTS["CreateJoinToken"], request)).token
        made = await self.admin(
            _AGENTS["RegisterAgent"],
            RegisterAgentRequest(name=name, join_token=token, **enrolment),
        )
        self._remember(side, made.agent_id)
        return name

    async def token(self) -> str:
        made = await self.admin(
            _AGENTS["CreateJoinToken"], agent_service_pb2.CreateJoinTokenRequest()
        )
        return str(made.token)

    async def variable(self, side: str) -> str:
        """A variable that is kept for the group; its name."""
        name = self.name(side, "variable").replace(" ", "_")
        request = variable_service_pb2.CreateVariableRequest(
            variable=Variable(name=name, value=f"value of {name}", allowed_groups=[side])
        )
        made = await self.admin(_VARIABLES["CreateVariable"], request)
        self._remember(side, made.id)
        return name

    async def group(self, name: str, *, there: bool) -> None:
        """See to it that a group is there, or is not."""
        request: Message = job_service_pb2.DeleteGroupRequest(name=name)
        method = _JOBS["DeleteGroup"]
        if there:
            request, method = job_service_pb2.CreateGroupRequest(name=name), _JOBS["CreateGroup"]
        try:
            await self.admin(method, request)
        except CallFailed as error:
            if error.reason not in ("NAME_TAKEN", "GROUP_NOT_FOUND"):
                raise

    async def key(self, role: Role, *groups: str, networks: tuple[str, ...] = ()) -> str:
        return str((await self._key(role, groups, networks)).secret)

    async def key_id(self) -> str:
        return str((await self._key(Role.VIEWER, (), ())).key.id)

    async def _key(self, role: Role, groups: Any, networks: Any) -> Any:
        key = ApiKey(
            name=self.name("a", "key"),
            role=KeyRole.Value(f"ROLE_{role.upper()}"),
            allowed_groups=groups,
            allowed_networks=networks,
        )
        return await self.admin(_KEYS["CreateKey"], key_service_pb2.CreateKeyRequest(key=key))

    # Callers.

    async def add_callers(self) -> None:
        self.callers.append(Caller(name="nobody", metadata={}))
        for role in Role:
            self._add(f"{role}", role, await self.key(role))
            await self._add_bad(role)
        for role in (Role.VIEWER, Role.OPERATOR):
            self._add(f"{role} of {IN}", role, await self.key(role, *MINE), limited=True)
        self._add("agent credential", Role.AGENT, await self._credential(), credential=True)
        self._add("unknown", None, keys.new_api_key().reveal(), bad="unknown")

    def _add(self, name: str, role: Role | None, key: str, **more: Any) -> None:
        self.callers.append(Caller(name=name, role=role, metadata=bearer(key), **more))

    async def _add_bad(self, role: Role) -> None:
        revoked = await self._key(role, (), ())
        request = key_service_pb2.RevokeKeyRequest(key_id=revoked.key.id)
        await self.admin(_KEYS["RevokeKey"], request)
        elsewhere = await self.key(role, networks=("192.0.2.0/24", "2001:db8::/32"))
        self._add(f"{role}, revoked", role, revoked.secret, bad="revoked")
        self._add(f"{role}, expired", role, self._expired(role), bad="expired")
        self._add(f"{role}, elsewhere", role, elsewhere, bad="wrong network")

    def _expired(self, role: Role) -> str:
        """Written behind the controller's back: no caller can make one that has expired."""
        secret, clock = keys.new_api_key(), SystemClock()
        database = open_database(self._database)
        with writing(database.main) as tx:
            stored_keys.insert_key(
                tx,
                id=next(self._numbers).to_bytes(16, "big"),
                name=self.name("an", "expired key"),
                role=KeyRole.Value(f"ROLE_{role.upper()}"),
                prefix=keys.shown_prefix(secret),
                hash=keys.hash_of(secret.reveal()),
                allowed_groups=(),
                allowed_networks=(),
                created_at=clock.now_us() - 2,
                expires_at=clock.now_us() - 1,
            )
        database.close()
        return secret.reveal()

    async def _credential(self) -> str:
        request = RegisterAgentRequest(name="agent", join_token=await self.token())
        made = await self.admin(_AGENTS["RegisterAgent"], request)
        self.agent_id = made.agent_id
        return str(made.credential)


def _gateway(http: Transport, mcp: Transport) -> Gateway:
    async def metrics() -> bytes:
        return b""

    front = FrontSettings(local=True)
    return Gateway(http, front, mcp=Mcp(mcp, SERVICES, version="test"), metrics=metrics)


def _chain_of(chain: Any, surface: int) -> Chain:
    """The chain of calls that came over HTTP or MCP, as `kronforce.app` makes it."""
    return Chain(
        identity=chain._identity,
        in_flight=chain._in_flight,
        counts=chain._counts,
        clock=SystemClock(),
        surface=surface,
        refused=chain._refused,
    )


def _methods(module: Any, service: str) -> dict[str, MethodDescriptor]:
    return dict(module.DESCRIPTOR.services_by_name[service].methods_by_name)


_AGENTS = _methods(agent_service_pb2, "AgentService")
_EXECUTIONS = _methods(execution_service_pb2, "ExecutionService")
_JOBS = _methods(job_service_pb2, "JobService")
_KEYS = _methods(key_service_pb2, "KeyService")
_VARIABLES = _methods(variable_service_pb2, "VariableService")
_WEBHOOKS = _methods(webhook_service_pb2, "WebhookService")


@asynccontextmanager
async def world(
    folder: Path, *, empty: bool = False, open_agents: bool = False
) -> AsyncIterator[World]:
    """Serve on a free port of loopback; `empty`: nobody but the admin, and nothing of theirs."""
    database = str(folder / "k.db")
    config = Config(
        data_dir=folder,
        db=database,
        grpc_bind="127.0.0.1:0",
        bind="",
        rate_limit_enabled=False,
        bootstrap_admin_key=ADMIN_KEY,
        open_agents=open_agents,
    )
    async with (
        controller(config, clock=SystemClock()) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        made = World(server, channel, database)
        if not empty:
            await made.add_callers()
        # Things that lists and counts could give away.
        for side in () if empty else (IN, OUT):
            await made.ended_run(side)
            await made.agent(side)
            await made.variable(side)
        yield made
        for gateway in made.gateways.values():
            await gateway.stop()
