"""Who is calling: keys and credentials, answered from memory and kept true.

A key that was found good is remembered by its hash with the principal and the
scope it stands for. The store's `key_revision` counter rises with each
revocation; the keeper reads it every second, rereads what is remembered when
it moved (and every 30 s in any case), and ends the streams of keys that are
good no longer. While the store is away, what is remembered stays good.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from kronforce.api.access import ROLES
from kronforce.api.call import (
    LOCAL_PEER,
    OPEN_AGENT,
    OPEN_SCOPE,
    UNIX_PEER,
    Call,
    Principal,
)
from kronforce.api.throttle import Throttle
from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import Role, Scope
from kronforce.errors import KronforceError, Unauthenticated, Unavailable
from kronforce.security import keys
from kronforce.store import agents as stored_agents
from kronforce.store import groups as stored_groups
from kronforce.store import keys as stored_keys
from kronforce.store.database import Tx
from kronforce.together import Together
from kronforce.v1 import api_key_pb2, options_pb2

P = ParamSpec("P")
T = TypeVar("T")

# Revoking is seen by other controllers, and by this one after a change from outside, within this.
REVISION_POLL_SECS = 1.0
# However quiet the counter is: every remembered key is read again this often.
RECHECK_SECS = 30.0
# When a key was last used is written in batches, to within this.
LAST_USED_SECS = 30.0
# Ways remembered in which one key calls, an address each; beyond it they are made anew.
WAYS = 64
# Keys remembered: those of all agents that a controller takes (20,000) and of 30,000 callers.
# Beyond it the oldest is read again when it calls, and what it has open ends.
REMEMBERED = 50_000
# Read with one question to the store: a parameter each.
LOOKUP = 500
# Later than any instant of expiry.
NEVER = 1 << 63

# Metadata of a caller that has a key, is a browser, or comes through a proxy.
_NOT_OPEN = frozenset({"authorization", "origin", "sec-fetch-site", "x-forwarded-for", "forwarded"})

WAY_IN = "send a valid key as `authorization: Bearer kf_…`"


class Store(Protocol):
    """The part of the store that identity needs."""

    def read(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> Awaitable[T]: ...

    def read_once(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> Awaitable[T]: ...

    def write(
        self, fn: Callable[Concatenate[Tx, P], T], *args: P.args, **kw: P.kwargs
    ) -> Awaitable[T]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A key or credential that is good, and what it stands for."""

    hash: bytes
    principal: Principal
    scope: Scope
    expires_at: int | None
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    _ways: dict[tuple[str, str], Principal] = field(default_factory=dict, compare=False)

    def calling(self, call: Call) -> Principal:
        """The principal, with the way in which this call came."""
        way = (call.peer, call.surface)
        principal = self._ways.get(way)
        if principal is None:
            if len(self._ways) >= WAYS:
                self._ways.clear()
            principal = replace(self.principal, peer=call.peer, surface=call.surface)
            self._ways[way] = principal
        return principal


class Identity:
    """Answers for keys; one per process."""

    def __init__(
        self, *, store: Store, clock: Clock, throttle: Throttle, remembered: int = REMEMBERED,
        open_agents: bool = False,
    ) -> None:  # fmt: skip
        self._store = store
        # Whether agents on this host need no key.
        self._open_agents = open_agents
        self._remembered = remembered
        self._clock = clock
        self._throttle = throttle
        self._known: dict[bytes, Known] = {}
        self._revision = 0
        self._read_at = clock.monotonic()
        self._used: dict[int, int] = {}
        # Whether anything remembered has changed since `is_due` was asked; what expires next.
        self._changed = False
        self._next_expiry = NEVER
        self._read_together = Together(self._read_many, limit=LOOKUP)

    def recall(self, call: Call) -> bool:
        """Set principal and scope from memory; False if the store has to be asked."""
        known = self._known.get(_hash_in(call))
        if known is None:
            return False
        self._admit(call, known)
        return True

    def admits_open(self, call: Call) -> bool:
        """Set principal and scope of an agent on this host that has no key, if that is allowed.

        Any page that somebody on this host looks at can have a browser call, and a proxy here
        calls for others; agents do neither.
        """
        if not self._open_agents or not is_local(call.peer):
            return False
        if not _NOT_OPEN.isdisjoint(call.metadata):
            return False
        call.principal = replace(OPEN_AGENT, peer=call.peer, surface=call.surface)
        call.scope = OPEN_SCOPE
        return True

    async def look_up(self, call: Call) -> None:
        """The same through the store. Raises Unauthenticated; counts failures by peer."""
        self._throttle.check(call.peer)
        digest = _hash_in(call)
        try:
            if not digest:
                raise Unauthenticated(f"no key came with the call; {WAY_IN}")
            self._admit(call, await self._read(digest))
        except Unauthenticated:
            self._throttle.failed(call.peer)
            raise

    async def _read(self, digest: bytes) -> Known:
        known = await self._read_together(digest)
        while known is not None and digest not in self._known:
            # Revoked, or given up for others, since it was read a moment ago.
            known = await self._read_together(digest)
        if known is None or not hmac.compare_digest(known.hash, digest):
            raise Unauthenticated(f"the key is unknown or revoked; {WAY_IN}")
        return known

    async def _read_many(self, digests: list[bytes]) -> list[Known | None]:
        """Read and remember those that are good."""
        revision = -1
        found: dict[bytes, Known] = {}
        # A revocation that was noticed while this was being read may be missing from it.
        while revision != self._revision:
            revision = self._revision
            found = await self._store.read(_read_all, digests)
        for digest, known in found.items():
            self._remember(digest, known)
        return [found.get(digest) for digest in digests]

    def _remember(self, digest: bytes, known: Known) -> None:
        if digest not in self._known and len(self._known) >= self._remembered:
            self._changed = True
            del self._known[next(iter(self._known))]
        self._known[digest] = known
        if known.expires_at is not None:
            self._next_expiry = min(self._next_expiry, known.expires_at)

    def _admit(self, call: Call, known: Known) -> None:
        now = self._clock.now_us()
        if known.expires_at is not None and now >= known.expires_at:
            raise Unauthenticated(f"the key {known.principal.name!r} has expired; {WAY_IN}")
        if known.networks and not _inside(call.peer, known.networks):
            raise Unauthenticated(
                f"the key {known.principal.name!r} may not be used from {call.peer}"
            )
        call.principal = known.calling(call)
        call.scope = known.scope
        call.key_hash = known.hash
        if known.principal.key:
            self._used[known.principal.key] = now

    def judge(self, call: Call) -> KronforceError | None:
        """Why a call under way must end: its key is good no longer, or sees other groups now."""
        if call.principal.kind == "public":
            return None
        known = self._known.get(call.key_hash)
        if known is None or (
            known.expires_at is not None and self._clock.now_us() >= known.expires_at
        ):
            return Unauthenticated("the key was revoked or has expired")
        if known.scope is not call.scope:
            if known.scope != call.scope:
                return Unavailable("the groups of this key have changed; call again")
            # It was read again and is as it was: the next look is quick.
            call.scope = known.scope
        return None

    async def refresh(self, *, force: bool = False) -> None:
        """Drop what is good no longer: reread everything remembered if a key was revoked."""
        revision = await self._store.read_once(stored_keys.key_revision)
        due = self._clock.monotonic() >= self._read_at + RECHECK_SECS
        if revision == self._revision and not due and not force:
            return
        self._revision, self._read_at = revision, self._clock.monotonic()
        digests = list(self._known)
        fresh = await self._store.read(_read_all, digests) if digests else {}
        for digest in digests:
            self._renew(digest, fresh.get(digest))
        # Again also for a clock that was set back.
        self._see_expiry()

    def _renew(self, digest: bytes, known: Known | None) -> None:
        """What was read again of a key that is remembered; most are as they were."""
        if known == self._known.get(digest):
            return
        self._changed = True
        if known is None:
            self._known.pop(digest, None)
        else:
            self._remember(digest, known)

    def is_due(self) -> bool:
        """Whether `judge` may say otherwise than when this was asked last.

        A key has changed, is remembered no longer, or has expired.
        """
        if self._clock.now_us() >= self._next_expiry:
            self._see_expiry()
        due, self._changed = self._changed, False
        return due

    def _see_expiry(self) -> None:
        """Note what has expired, and what will next."""
        now = self._clock.now_us()
        self._changed |= now >= self._next_expiry
        expiries = [known.expires_at for known in self._known.values()]
        ahead = [at for at in expiries if at is not None and at > now]
        self._next_expiry = min(ahead, default=NEVER)

    async def write_last_used(self) -> None:
        """Store when keys were used since the last time."""
        used, self._used = self._used, {}
        if used:
            await self._store.write(stored_keys.touch_keys, sorted(used.items()))


def _read_all(tx: Tx, digests: Sequence[bytes]) -> dict[bytes, Known]:
    """The same for many, some at a time: a controller of thousands of agents asks this often."""
    renames = stored_groups.pending_renames(tx)
    found: list[Known | None] = []
    for start in range(0, len(digests), LOOKUP):
        some = digests[start : start + LOOKUP]
        found += [_of_key(key, renames) for key in stored_keys.get_keys_by_hash(tx, some)]
        found += [_of_agent(agent) for agent in stored_agents.holders_of(tx, some)]
    return {known.hash: known for known in found if known is not None}


def _of_key(key: stored_keys.KeyRow, renames: Mapping[str, str]) -> Known | None:
    role = ROLES.get(key.role)
    if role is None:
        return None
    text_id = ids.to_text(key.id)
    return Known(
        hash=key.hash,
        principal=Principal(
            key=key.key,
            id=text_id,
            name=key.name,
            role=key.role,
            only=surface_name(key.surface) if key.surface else "",
        ),
        scope=Scope(
            principal_id=text_id,
            role=role,
            groups=_groups(key, role, renames),
        ),
        expires_at=key.expires_at,
        networks=tuple(ipaddress.ip_network(text) for text in key.allowed_networks),
    )


def surface_name(surface: int) -> str:
    """`grpc`, `http`, `mcp`."""
    name = options_pb2.Surface.Name(options_pb2.Surface.ValueType(surface))
    return name.removeprefix("SURFACE_").lower()


def _groups(
    key: stored_keys.KeyRow, role: Role, renames: Mapping[str, str]
) -> frozenset[str] | None:
    """None is every group: the contract's empty list, and always so for admins."""
    if role is Role.ADMIN or not key.allowed_groups:
        return None
    # Runs and events that do not have the new name of their group yet; nobody else can take it.
    old = {old for old, new in renames.items() if new in key.allowed_groups}
    return frozenset(key.allowed_groups) | old


def _of_agent(agent: stored_agents.Holder) -> Known:
    text_id = ids.to_text(agent.id)
    return Known(
        hash=agent.hash,
        principal=Principal(
            key=0,
            id=text_id,
            name=agent.name,
            role=api_key_pb2.ROLE_AGENT,
            kind="agent",
            agent_key=agent.key,
            agent_id=agent.id,
        ),
        scope=Scope(principal_id=text_id, role=Role.AGENT, agent_id=agent.id),
        expires_at=None,
        networks=(),
    )


def _hash_in(call: Call) -> bytes:
    """The hash of the key that came with the call; empty if none did."""
    header = call.metadata.get("authorization")
    if not isinstance(header, str):
        return b""
    text = keys.bearer(header)
    return b"" if text is None else keys.hash_of(text)


@lru_cache(maxsize=4_096)
def is_local(peer: str) -> bool:
    """Whether the caller is on this host."""
    if peer in (LOCAL_PEER, UNIX_PEER):
        return True
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=4_096)
def _inside(peer: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    if peer in (LOCAL_PEER, UNIX_PEER):
        # This machine, which is what its loopback networks stand for.
        return any(network.is_loopback for network in networks)
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
