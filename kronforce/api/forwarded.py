"""For whom a gateway calls that is a process of its own: believed of trusted peers alone.

Such a gateway says with each call whose it is and through which of its surfaces it came. Of a peer
that is trusted the call is taken as if it had come from there and that way, for networks of keys,
the throttle, access and the audit log. Of anybody else both are ignored, and the log says so once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from kronforce.api.call import Call
from kronforce.config import Network
from kronforce.telemetry import logs
from kronforce.v1 import options_pb2

FORWARDED_FOR = "x-forwarded-for"
SURFACE = "x-kronforce-surface"

_SURFACES = {"http": options_pb2.SURFACE_HTTP, "mcp": options_pb2.SURFACE_MCP}
# Peers that a line was written about; others go without.
TOLD = 100

log = logs.logger("api")


class Forwarders:
    """Who may speak for others."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._told: set[str] = set()
        self._trusts = lru_cache(maxsize=4_096)(self._judge)

    def read(self, call: Call) -> None:
        """Take what a call says of its origin, if its peer may say so."""
        if not self._trusts(call.peer):
            self._tell(call.peer)
            return
        said = call.metadata.get(FORWARDED_FOR, "")
        caller = _address(said) if isinstance(said, str) else ""
        if caller:
            call.peer = caller
        surface = call.metadata.get(SURFACE, "")
        if isinstance(surface, str):
            call.came_by = _SURFACES.get(surface, 0)

    def _judge(self, peer: str) -> bool:
        text = _address(peer)
        if not text:
            return False
        address = ipaddress.ip_address(text)
        return any(address in network for network in self._networks)

    def _tell(self, peer: str) -> None:
        if peer in self._told or len(self._told) >= TOLD:
            return
        self._told.add(peer)
        log.warning(
            "somebody says that it calls for others and is not believed; if that is your gateway,"
            " name its address with --trusted-proxies (KRONFORCE_TRUSTED_PROXIES)",
            action="forwarding.not_trusted",
            peer=peer,
        )


@lru_cache(maxsize=4_096)
def _address(text: str) -> str:
    """The address as it is usually written; empty where it is none."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
