"""How many calls a minute: public ones by address, all others by key (or agent's credential).

Counted before anybody looks whether the key is good, so a wrong one must cost no more than a right
one: windows are the same for all callers, and their counts go together when a window ends. Beyond
MAX_CALLERS in one window a caller who is new is counted with all new ones of its address, so that
made-up keys neither fill the memory nor push anybody's count out. What comes without a key counts
by address. One process counts for itself.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from http import HTTPStatus

from kronforce.v1 import options_pb2
from kronforce_gateway.failures import Failure
from kronforce_gateway.front.passage import Header, Passage

WINDOW_SECS = 60.0
# Some 150 bytes each; an installation has a few thousand keys.
MAX_CALLERS = 50_000
# Of IPv6 a provider gives each customer this much: one caller, not 2^64.
IPV6_PREFIX = 64

_LIMIT = b"x-ratelimit-limit"
_REMAINING = b"x-ratelimit-remaining"
_EVERYBODY = "everybody else"
# The setting's name and what it counts by, for the refusal.
_TIERS = {
    options_pb2.RATE_CLASS_PUBLIC: ("PUBLIC", "from one address"),
    options_pb2.RATE_CLASS_AUTHENTICATED: ("AUTHENTICATED", "with one key"),
    options_pb2.RATE_CLASS_AGENT: ("AGENT", "with one credential"),
}


class _Tier:
    """The calls of one class in the window that runs."""

    __slots__ = ("by_address", "counts", "ends", "header", "limit", "rate_class")

    def __init__(self, rate_class: int, limit: int) -> None:
        self.rate_class = rate_class
        self.limit = limit
        self.by_address = rate_class == options_pb2.RATE_CLASS_PUBLIC
        self.header: Header = (_LIMIT, b"%d" % limit)
        self.counts: dict[Hashable, int] = {}
        self.ends = 0.0


class RateLimits:
    """Counts of this process; belongs to one event loop. `limits` by rate class, 0: none."""

    def __init__(
        self,
        limits: Mapping[int, int],
        monotonic: Callable[[], float],
        *,
        max_callers: int = MAX_CALLERS,
    ) -> None:
        self._tiers = {kind: _Tier(kind, limit) for kind, limit in limits.items() if limit > 0}
        self._monotonic = monotonic
        self._origin = monotonic()
        self._max_callers = max_callers

    def admit(self, rate_class: int, passage: Passage) -> None:
        """Count the call, and have its answer say what is left. Raises Failure at the limit."""
        tier = self._tiers.get(rate_class)
        if tier is None:
            return
        now = self._monotonic()
        if now >= tier.ends:
            tier.ends = now + WINDOW_SECS - (now - self._origin) % WINDOW_SECS
            tier.counts = {}
        counts = tier.counts
        caller = _network(passage.peer) if tier.by_address else _caller(passage)
        used = counts.get(caller)
        if used is None and len(counts) >= self._max_callers:
            caller = self._crowded(passage, counts)
            used = counts.get(caller)
        used = (used or 0) + 1
        if used > tier.limit:
            passage.replied += (tier.header, (_REMAINING, b"0"))
            raise _too_many(tier, math.ceil(tier.ends - now))
        counts[caller] = used
        passage.replied += (tier.header, (_REMAINING, b"%d" % (tier.limit - used)))

    def _crowded(self, passage: Passage, counts: Mapping[Hashable, int]) -> Hashable:
        address = ("new from", _network(passage.peer))
        if address in counts or len(counts) < 2 * self._max_callers:
            return address
        return _EVERYBODY


def _caller(passage: Passage) -> Hashable:
    """What stands for the key. Its text is not kept: Python's hash of it is seeded at random."""
    if not passage.authorization:
        return _network(passage.peer)
    return hash(passage.authorization.rpartition(b" ")[2])


@lru_cache(maxsize=4_096)
def _network(address: str) -> str:
    if ":" not in address:
        return address
    try:
        whole = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(whole), IPV6_PREFIX), strict=False))


def _too_many(tier: _Tier, seconds: int) -> Failure:
    name, by = _TIERS[options_pb2.RateClass.ValueType(tier.rate_class)]
    return Failure(
        status=HTTPStatus.TOO_MANY_REQUESTS,
        error=(
            f"{tier.limit} calls a minute are allowed {by}; try again in {seconds} s"
            f" (the limit is KRONFORCE_RATE_LIMIT_{name})"
        ),
        reason="RATE_LIMITED",
        headers={"retry-after": str(seconds)},
    )
