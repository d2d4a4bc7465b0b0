"""Failed authentication, counted per peer address before any key is looked up.

256-bit keys cannot be guessed; this keeps a peer that tries from costing store
reads. A key that was found good before passes all the same, so that a broken
script on a host does not lock out the others there.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from kronforce.clock import Clock
from kronforce.errors import ResourceExhausted

# A person mistypes a few times, a deployment with an old key tries on and on.
FAILURES = 20
WINDOW_SECS = 60.0

# Of IPv6 a provider gives each customer this much: one peer, not 2^64.
IPV6_PREFIX = 64

# Addresses remembered; a flood from more than these forgets the oldest.
ADDRESSES = 10_000


class Throttle:
    """Counts failures in windows of WINDOW_SECS."""

    def __init__(self, clock: Clock, *, addresses: int = ADDRESSES) -> None:
        self._addresses = addresses
        self._monotonic = clock.monotonic
        # address -> (start of its window, failures in it)
        self._failures: dict[str, tuple[float, int]] = {}

    def check(self, peer: str) -> None:
        """Raise ResourceExhausted while the peer has used up its failures."""
        if not self._failures:
            return
        start, failures = self._failures.get(network_of(peer), (0.0, 0))
        left = start + WINDOW_SECS - self._monotonic()
        if failures >= FAILURES and left > 0:
            raise ResourceExhausted(
                f"{FAILURES} wrong keys from this address; try again in {left:.0f} s",
                limit="failed_authentications",
                retry_secs=round(left) + 1,
            )

    def failed(self, peer: str) -> None:
        """Count one."""
        now = self._monotonic()
        peer = network_of(peer)
        start, failures = self._failures.pop(peer, (now, 0))
        if now >= start + WINDOW_SECS:
            start, failures = now, 0
        if len(self._failures) >= self._addresses:
            del self._failures[next(iter(self._failures))]
        self._failures[peer] = (start, failures + 1)


@lru_cache(maxsize=4_096)
def network_of(peer: str) -> str:
    """What counts as one peer."""
    if ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer)
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
