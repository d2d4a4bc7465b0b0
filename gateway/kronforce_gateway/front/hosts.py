"""Under which names the gateway may be called: the guard against DNS rebinding.

A page of somebody else can point its own name at 127.0.0.1 and then read what a gateway there
answers, as if it were its own. The browser still sends the page's name, and that is refused here.
A request without a Host (HTTP/1.0) comes from no browser.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from kronforce_gateway.failures import Failure

# What a gateway that listens on loopback alone is called by.
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Longer names are nobody's; as many are remembered.
MAX_HOST = 300
REMEMBERED = 1_000


class Hosts:
    """The names that are answered; None: all."""

    def __init__(self, allowed: Collection[str] | None) -> None:
        self._allowed = None if allowed is None else frozenset(allowed)
        self._good: set[bytes] = set()

    def check(self, host: bytes) -> None:
        """Raise Failure for a name that is not ours; `host` is the header, port and all."""
        if self._allowed is None or host in self._good:
            return
        name = name_in(host.decode("latin-1"))
        if name not in self._allowed:
            raise _foreign(name)
        if len(self._good) < REMEMBERED:
            self._good.add(host)


def name_in(host: str) -> str:
    """The name of `name:port` and `[::1]:port`."""
    if len(host) > MAX_HOST:
        return ""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


@lru_cache(maxsize=1_024)
def is_loopback(peer: str) -> bool:
    """Whether a caller's address is this machine's."""
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def place_of(origin: str) -> str:
    """`host:port` of the page that an Origin header names; empty for what is none of the web."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _foreign(name: str) -> Failure:
    return Failure(
        status=HTTPStatus.MISDIRECTED_REQUEST,
        error=(
            f"this gateway is not called {name[:100]!r}; if it should be, start it with"
            f" --allowed-hosts {name[:100] or 'NAME'} or --public-url (KRONFORCE_ALLOWED_HOSTS,"
            " KRONFORCE_PUBLIC_URL)"
        ),
        reason="WRONG_HOST",
    )
