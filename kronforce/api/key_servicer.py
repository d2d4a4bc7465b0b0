"""KeyService: keys are made, listed and revoked by admins; everybody may ask who they are."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from kronforce.api.call import Call
from kronforce.api.convert.instants import instant_us
from kronforce.api.convert.key import to_message
from kronforce.api.identity import Store
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import GRANTS
from kronforce.core.agent_rules import group_problems
from kronforce.engine.auditing import Resource, record
from kronforce.errors import InvalidArgument, KeyNotFound
from kronforce.security import keys
from kronforce.store import keys as stored
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.events import NewEvent, insert_events
from kronforce.telemetry import logs
from kronforce.v1 import api_key_pb2 as pb
from kronforce.v1 import key_service_pb2 as service_pb
from kronforce.v1 import key_service_pb2_grpc, options_pb2
from kronforce.v1.event_pb2 import SEVERITY_INFO, SEVERITY_WARNING

NAME_MAX = 200
NETWORKS_MAX = 100

# The sort key of ListKeys: revoked or not, and the row's number, negative.
_PAGE_SHAPE: Shape = (int, int)

log = logs.logger("keys")


class KeyServicer(key_service_pb2_grpc.KeyServiceServicer):
    """`revoked` is awaited after a revocation, so that it holds here at once."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        new_id: Callable[[], bytes],
        revoked: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._revoked = revoked

    async def CreateKey(  # type: ignore[override] # servicers take our Call
        self, request: service_pb.CreateKeyRequest, call: Call
    ) -> service_pb.CreateKeyResponse:
        wanted = request.key
        now = self._clock.now_us()
        role = _role_of(wanted)
        _check(wanted, role, now)
        secret = keys.new_api_key()
        row = await self._store.write(
            _make,
            actor=call.principal,
            id=self._new_id(),
            name=wanted.name,
            role=role,
            prefix=keys.shown_prefix(secret),
            hash=keys.hash_of(secret.reveal()),
            allowed_groups=sorted(set(wanted.allowed_groups)),
            allowed_networks=sorted(set(wanted.allowed_networks)),
            created_at=now,
            expires_at=instant_us(wanted.expires_at) if wanted.HasField("expires_at") else None,
            surface=wanted.surface,
        )
        log.info("key made", action="key.created", key=row.name, by=call.principal.name)
        return service_pb.CreateKeyResponse(key=to_message(row), secret=secret.reveal())

    async def ListKeys(  # type: ignore[override] # servicers take our Call
        self, request: service_pb.ListKeysRequest, call: Call
    ) -> service_pb.ListKeysResponse:
        page = await self._store.read(stored.list_keys, read_page(request, _PAGE_SHAPE))
        return service_pb.ListKeysResponse(
            keys=[to_message(row) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def RevokeKey(  # type: ignore[override] # servicers take our Call
        self, request: service_pb.RevokeKeyRequest, call: Call
    ) -> pb.ApiKey:
        if not request.key_id:
            raise InvalidArgument.of(("key_id", "is required: an id or an exact name"))
        row = await self._store.write(_revoke, request.key_id, call.principal, self._clock.now_us())
        if row is None:
            raise KeyNotFound(f"there is no key {request.key_id!r}; see `kronforce key list`")
        log.info("key revoked", action="key.revoked", key=row.name, by=call.principal.name)
        await self._revoked()
        return to_message(row)

    async def WhoAmI(  # type: ignore[override] # servicers take our Call
        self, request: service_pb.WhoAmIRequest, call: Call
    ) -> service_pb.WhoAmIResponse:
        return service_pb.WhoAmIResponse(
            key=await self._own_key(call), permissions=sorted(GRANTS[call.scope.role])
        )

    async def _own_key(self, call: Call) -> pb.ApiKey:
        principal = call.principal
        if principal.kind == "agent":
            # A credential is no key, but answers the same question.
            return pb.ApiKey(id=principal.id, name=principal.name, role=pb.ROLE_AGENT)
        row = await self._store.read(stored.find_key, principal.id)
        if row is None:
            raise KeyNotFound("this key is gone")
        return to_message(row)


def _make(tx: Tx, /, *, actor: Actor, **values: Any) -> stored.KeyRow:
    row = stored.insert_key(tx, **values)
    _tell(tx, "key.created", SEVERITY_INFO, row, actor.name, row.created_at)
    record(tx, actor, row.created_at, "key.created", _resource(row), after=to_message(row))
    return row


def _revoke(tx: Tx, ref: str, actor: Actor, now: int) -> stored.KeyRow | None:
    before = stored.find_key(tx, ref)
    row = stored.revoke_key(tx, ref, now)
    # A second time changes nothing, and nothing is told of it; nor if another was quicker.
    if before and row and before.revoked_at is None and row.revoked_at == now:
        _tell(tx, "key.revoked", SEVERITY_WARNING, row, actor.name, now)
        shown, gone = to_message(before), to_message(row)
        record(tx, actor, now, "key.revoked", _resource(row), before=shown, after=gone)
    return row


def _resource(row: stored.KeyRow) -> Resource:
    return Resource(type="key", id=ids.to_text(row.id), name=row.name)


def _tell(tx: Tx, kind: str, severity: int, row: stored.KeyRow, actor: str, at: int) -> None:
    message = f"key {row.name} was {kind.rpartition('.')[2]}"
    event = NewEvent(kind=kind, severity=severity, at=at, message=message, actor=actor)
    insert_events(tx, [event])


def _role_of(key: pb.ApiKey) -> pb.Role.ValueType:
    """An AI client's key only reads unless it is made for more."""
    limited = key.surface == options_pb2.SURFACE_MCP
    return pb.ROLE_VIEWER if limited and key.role == pb.ROLE_UNSPECIFIED else key.role


def _check(key: pb.ApiKey, role: pb.Role.ValueType, now: int) -> None:
    """Raise InvalidArgument with everything that is wrong with a new key."""
    wrong: list[tuple[str, str]] = []
    if not 1 <= len(key.name) <= NAME_MAX or not key.name.isprintable():
        wrong.append(("name", f"1 to {NAME_MAX} printable characters"))
    elif ids.from_text(key.name) is not None:
        wrong.append(("name", "looks like an id; choose a name"))
    if role not in pb.Role.values() or role == pb.ROLE_UNSPECIFIED:
        wrong.append(("role", "is required: viewer, operator, admin or agent"))
    wrong += _surface_problems(key, role)
    if key.allowed_groups and role == pb.ROLE_ADMIN:
        wrong.append(("allowed_groups", "admins are never limited to groups"))
    wrong += group_problems(key.allowed_groups)
    if len(key.allowed_networks) > NETWORKS_MAX:
        wrong.append(("allowed_networks", f"at most {NETWORKS_MAX}"))
    wrong += [
        ("allowed_networks", problem)
        for network in key.allowed_networks
        if (problem := _network_problem(network))
    ]
    if key.HasField("expires_at") and instant_us(key.expires_at) <= now:
        wrong.append(("expires_at", "is in the past"))
    if wrong:
        raise InvalidArgument.of(*wrong)


def _surface_problems(key: pb.ApiKey, role: pb.Role.ValueType) -> list[tuple[str, str]]:
    if key.surface == options_pb2.SURFACE_UNSPECIFIED:
        return []
    if key.surface != options_pb2.SURFACE_MCP:
        return [("surface", "mcp, or nothing for every way in")]
    if role in (pb.ROLE_ADMIN, pb.ROLE_AGENT):
        return [("role", "of a key that is limited to MCP: viewer or operator")]
    return []


def _network_problem(text: str) -> str | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"{error}; write it like 10.0.0.0/8 or 2001:db8::/32"
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        # A peer's mapped address is taken for the IPv4 address that it is: this would match none.
        return f"{text} is IPv4 written as IPv6; write it like 10.0.0.0/8"
    return None
