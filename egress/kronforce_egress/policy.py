"""Which addresses may be connected to: pure, and asked of every address of every connection.

`AGENT` is for what jobs send from an agent: the agent is where the data is, so private networks
and loopback are what it is for. `CONTROLLER` is for what the controller sends by itself
(notifications, connection tests): the public internet, and what the operator names. Neither
reaches a cloud's metadata service or anything link-local.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_network

from kronforce_egress.addresses import NEVER, NOT_INTERNET, Address, Network, Range, faces
from kronforce_egress.errors import Refused

ALLOWED_MAX = 1_000
"""Entries of an allow list: it is walked for each address."""
CONTROLLER_SECS = 30.0
"""For a request of the controller's own, redirects and body included: nobody else limits it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """`never` is refused always, `refused` unless a network or the host's name is allowed."""

    name: str
    never: tuple[Range, ...] = NEVER
    refused: tuple[Range, ...] = ()
    allowed_networks: tuple[Network, ...] = ()
    allowed_names: frozenset[str] = frozenset()
    way_out: str = ""
    """What a refusal says last."""
    total_secs: float | None = None
    """For a request from its beginning to the end of its body; None: the caller limits it."""

    def allowing(self, entries: Iterable[str]) -> Policy:
        """The same with these let through: `10.1.0.0/16`, `192.168.7.9`, `hooks.internal`.

        Raises ValueError for what is neither, and for too many.
        """
        listed = [each.strip().lower().rstrip(".") for each in entries]
        if len(listed) > ALLOWED_MAX:
            raise ValueError(f"{len(listed)} allowed targets are more than {ALLOWED_MAX:,}")
        networks = [found for each in listed if (found := _network(each)) is not None]
        names = {each for each in listed if _network(each) is None}
        return replace(
            self,
            allowed_networks=(*self.allowed_networks, *networks),
            allowed_names=self.allowed_names | names,
        )

    def check(self, host: str, address: Address) -> None:
        """Raises Refused where nothing may connect to this address of this host."""
        for face in faces(address):
            reason = _reason(self.never, face)
            if not reason and host not in self.allowed_names and not self._allows(face):
                reason = _reason(self.refused, face)
            if reason:
                raise Refused(self._sentence(host, address, face, reason))

    def _allows(self, face: Address) -> bool:
        return any(_holds(network, face) for network in self.allowed_networks)

    def _sentence(self, host: str, address: Address, face: Address, reason: str) -> str:
        shown = str(address) if host in ("", str(address)) else f"{host} has {address}, which"
        inside = f" carries {face}, which" if face != address else ""
        never = "no job or message may go there" if _reason(self.never, face) else self.way_out
        return f"{shown}{inside} {reason}: {never or 'not allowed here'}"


def _reason(table: tuple[Range, ...], face: Address) -> str:
    return next((each.why for each in table if _holds(each.network, face)), "")


def _holds(network: Network, face: Address) -> bool:
    return network.version == face.version and face in network


def _network(entry: str) -> Network | None:
    if not entry or "%" in entry:
        raise ValueError(f"{entry!r} is no network: name a host, an address or a network")
    try:
        return ip_network(entry)
    except ValueError as error:
        if "/" in entry or ":" in entry or entry.replace(".", "").isdigit():
            raise ValueError(f"{entry!r} is no network: {error}") from None
        return None


AGENT = Policy(name="agent")
"""For jobs' requests from an agent."""

CONTROLLER = Policy(
    name="controller",
    refused=NOT_INTERNET,
    way_out="the controller goes to public addresses and to those that it was told to allow",
    total_secs=CONTROLLER_SECS,
)
"""For the controller's own requests."""
