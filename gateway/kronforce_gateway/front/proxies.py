"""For whom a proxy calls: what X-Forwarded-For, X-Forwarded-Proto and Forwarded are worth.

Nothing, unless the socket's other end is a proxy that the operator trusts. Of the addresses in the
header the right-most that is no trusted proxy is the caller: what stands left of it the caller may
have written. Where both kinds of header came and name different callers the request is refused:
a proxy writes one of them and passes the other on as it found it, and nobody can tell which.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.settings import Network

# Hops that are looked at; a chain of proxies is shorter.
MAX_HOPS = 20
# Peers whose standing is remembered.
REMEMBERED = 10_000

_FORWARDED_PAIR = re.compile(r'(?:^|;)\s*(for|proto)\s*=\s*(?:"([^"]*)"|([^;"\s]*))', re.IGNORECASE)
_SCHEMES = ("http", "https")


class Proxies:
    """Whom to believe."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._standing: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Whether it may speak for others."""
        known = self._standing.get(peer)
        if known is None:
            known = self._judge(peer)
            if len(self._standing) >= REMEMBERED:
                self._standing.clear()
            self._standing[peer] = known
        return known

    def _judge(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and any(address in network for network in self._networks)

    def behind(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str]:
        """Whom a trusted peer calls for, and by which scheme; empty: it does not say.

        Raises Failure where its headers contradict each other.
        """
        said = _joined(headers)
        plain = self._caller(peer, _entries(said[b"x-forwarded-for"]))
        pairs = [_pairs(entry) for entry in _entries(said[b"forwarded"])]
        standard = self._caller(peer, [each.get("for", "") for each in pairs])
        if said[b"x-forwarded-for"] and said[b"forwarded"] and plain != standard:
            raise _contradiction()
        caller = plain if said[b"x-forwarded-for"] else standard
        scheme = (_entries(said[b"x-forwarded-proto"]) or [""])[-1].lower()
        if not scheme and pairs:
            scheme = pairs[-1].get("proto", "").lower()
        return caller, scheme if scheme in _SCHEMES else ""

    def _caller(self, peer: str, hops: Sequence[str]) -> str:
        """The right-most hop that is no trusted proxy; the last good one where a hop is none."""
        caller = peer
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _address(_without_port(hop))
            if address is None:
                return caller
            caller = str(address)
            if not self.trusts(caller):
                return caller
        return caller


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """A repeated header is one list."""
    found = {b"x-forwarded-for": "", b"x-forwarded-proto": "", b"forwarded": ""}
    for name, value in headers:
        if name in found:
            found[name] = ",".join(filter(None, (found[name], value.decode("latin-1"))))
    return found


def _entries(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _pairs(entry: str) -> dict[str, str]:
    return {name.lower(): quoted or bare for name, quoted, bare in _FORWARDED_PAIR.findall(entry)}


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _contradiction() -> Failure:
    return Failure(
        status=HTTPStatus.BAD_REQUEST,
        error=(
            "X-Forwarded-For and Forwarded name different callers; have the proxy set one of them"
            " and remove the other"
        ),
        reason="FORWARDED_CONTRADICTS",
    )
