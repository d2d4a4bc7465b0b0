"""What an IP address is: itself, the IPv4 addresses that it carries, and what the ranges are for.

Pure. A translator or tunnel on the way may unwrap an IPv6 address that carries an IPv4 one, so a
policy judges every face of an address, not only the one that was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = "hands out a cloud machine's credentials (metadata service)"
LINK_LOCAL = "is link-local, where cloud metadata services live"
NOWHERE = "is no address of one host"
LOOPBACK = "is this host itself (loopback)"
PRIVATE = "is in a private network"
SHARED = "is in a provider's shared network (carrier-grade NAT)"
DOCUMENTATION = "is for documentation only"
RESERVED = "is reserved"
CARRIES_IPV4 = "carries an IPv4 address inside an IPv6 one"
NOT_PUBLIC = "is outside of the public IPv6 range"


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A network and what is to be said of it: `ADDRESS is in a private network`."""

    network: Network
    why: str


def ranges(why: str, *networks: str) -> tuple[Range, ...]:
    """One Range for each of these."""
    return tuple(Range(network=ip_network(each), why=why) for each in networks)


# AWS and most others use 169.254.169.254; the rest are those that live elsewhere: AWS over IPv6,
# Azure's wire server, Alibaba, Google over IPv6, Scaleway over IPv6, Oracle's classic and IPv6.
_METADATA = ranges(
    METADATA,
    "169.254.169.254/32",
    "169.254.170.0/24",
    "168.63.129.16/32",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:42::42/128",
    "fd00:c1::a9fe:a9fe/128",
)

NEVER: tuple[Range, ...] = (
    *_METADATA,
    *ranges(LINK_LOCAL, "169.254.0.0/16", "fe80::/10"),
    *ranges(NOWHERE, "0.0.0.0/8", "::/128", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8"),
)
"""What no request of ours may reach, whatever an operator allows."""

NOT_INTERNET: tuple[Range, ...] = (
    *ranges(LOOPBACK, "127.0.0.0/8", "::1/128"),
    *ranges(PRIVATE, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    *ranges(SHARED, "100.64.0.0/10"),
    *ranges(DOCUMENTATION, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
    *ranges(DOCUMENTATION, "2001:db8::/32", "3fff::/20"),
    *ranges(RESERVED, "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "100::/64", "5f00::/16"),
    *ranges(CARRIES_IPV4, "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"),
    *ranges(CARRIES_IPV4, "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    *ranges(RESERVED, "2001::/23"),
    *ranges(NOT_PUBLIC, "::/3", "4000::/2", "8000::/1"),
)
"""What is not a host of the public internet."""

_LAST_32 = (
    IPv6Network("::/96"),  # IPv4-compatible, long deprecated
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (SIIT)
    IPv6Network("64:ff9b::/96"),  # NAT64
    IPv6Network("64:ff9b:1::/48"),  # NAT64, local use
)
_LOCAL_NAT64 = _LAST_32[-1]
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def faces(address: Address) -> Iterator[Address]:
    """The address, and every IPv4 address that something on the way may make of it."""
    yield address
    if isinstance(address, IPv6Address):
        yield from _carried(address)


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    number = int(address)
    if number <= 1:
        return  # `::` and `::1` stand for themselves
    if any(address in network for network in _LAST_32) or number >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)
    if address in _LOCAL_NAT64:
        # RFC 6052 with a prefix of 48 bits: 16 bits, the zero octet, 16 more.
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
