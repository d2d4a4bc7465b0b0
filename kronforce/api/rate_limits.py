"""How many calls a minute over gRPC, where the operator wants a limit; there is none by default.

The gateway limits HTTP by itself (`kronforce_gateway.front.rate_limits`); what comes through a
trusted one is not counted again. Here the caller is known already, so only good keys take memory:
one small number each and minute. Public calls count by address. A stream counts once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kronforce.api.access import Method
from kronforce.api.call import Call
from kronforce.api.throttle import network_of
from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.errors import RateLimited
from kronforce.v1 import options_pb2

WINDOW_SECS = 60.0
# Addresses of public calls in one window; beyond it all new ones count as one.
MAX_ADDRESSES = 10_000

Caller = bytes | str


class RateLimits:
    """Counts of one surface. `limits`: calls a minute by rate class; 0 or absent: any number."""

    def __init__(self, limits: Mapping[int, int], clock: Clock) -> None:
        self._limits = {kind: limit for kind, limit in limits.items() if limit > 0}
        self._monotonic = clock.monotonic
        self._ends = 0.0
        self._counts: dict[tuple[int, Caller], int] = {}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def admit(self, method: Method, call: Call) -> None:
        """Count a call whose caller is known. Raises RateLimited."""
        limit = self._limits.get(method.rate_class)
        if limit is None or call.came_by:
            return
        now = self._monotonic()
        if now >= self._ends:
            self._ends, self._counts = now + WINDOW_SECS, {}
        counted = (method.rate_class, self._caller(method, call))
        used = self._counts.get(counted, 0)
        if used >= limit:
            seconds = math.ceil(self._ends - now)
            raise RateLimited(
                f"{limit} calls a minute are allowed; try again in {seconds} s",
                limit=str(limit),
                retry_secs=seconds,
            )
        self._counts[counted] = used + 1

    def _caller(self, method: Method, call: Call) -> Caller:
        if call.key_hash and method.rate_class != options_pb2.RATE_CLASS_PUBLIC:
            return call.key_hash
        address = network_of(call.peer)
        crowded = len(self._counts) >= MAX_ADDRESSES
        if crowded and (method.rate_class, address) not in self._counts:
            return "everybody else"
        return address


def limits_of(config: Config) -> dict[int, int]:
    """What the operator wants of gRPC."""
    return {
        options_pb2.RATE_CLASS_PUBLIC: config.grpc_rate_limit_public,
        options_pb2.RATE_CLASS_AUTHENTICATED: config.grpc_rate_limit_authenticated,
        options_pb2.RATE_CLASS_AGENT: config.grpc_rate_limit_agent,
    }
