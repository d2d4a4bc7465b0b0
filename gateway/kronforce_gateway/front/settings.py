"""What the door is told: limits, whom it believes, under which names it is reached.

The defaults are those of a gateway that stands in a test: no limits, nobody believed, every name.
What an installation gets by default stands with the controller's settings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class FrontSettings:
    """Settings of the door."""

    # Calls a minute by the number of their rate class; 0 or absent: not limited.
    rate_limits: Mapping[int, int] = field(default_factory=dict)
    # Who may say for whom it calls.
    trusted_proxies: tuple[Network, ...] = ()
    # Host names, in lower case, by which callers may name it; None: any.
    allowed_hosts: frozenset[str] | None = None
    # Whether only this machine can reach the port.
    local: bool = False
    # Whether /metrics needs no key, whoever asks.
    metrics_public: bool = False
    # What it says of itself.
    version: str = ""
    public_url: str = ""
