"""Names to addresses, on threads of its own.

The C library's resolver blocks, for half a minute where a name server is silent. It is given
daemon threads, few and kept: the event loop's own executor has six on a small host, so six such
names would stop every lookup, and its threads are waited for when the process ends.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from queue import SimpleQueue
from typing import Protocol

from kronforce_egress.addresses import Address
from kronforce_egress.errors import NameNotResolved

THREADS_MAX = 32
"""Lookups at a time; more wait their turn."""
ADDRESSES_MAX = 16
"""Of one name: so many are looked at. A name with more is no less reachable."""

_Job = tuple[str, "asyncio.AbstractEventLoop", "asyncio.Future[list[Address]]"]


class Resolver(Protocol):
    """The seam to the DNS."""

    async def resolve(self, name: str) -> Sequence[Address]:
        """Every address, in the order to try. Raises NameNotResolved."""
        ...


class SystemResolver:
    """What this host's own configuration says: hosts file, search domains, name servers."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    async def resolve(self, name: str) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Address]] = loop.create_future()
        self._jobs.put((name, loop, future))
        self._hire()
        return await future

    def _hire(self) -> None:
        """A thread more, unless one is free to take what was put."""
        with self._lock:
            if self._idle >= self._jobs.qsize() or self._threads >= THREADS_MAX:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="egress-resolver", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            name, loop, future = self._jobs.get()
            with self._lock:
                self._idle -= 1
            try:
                found: list[Address] | NameNotResolved = _addresses(name)
            except NameNotResolved as error:
                found = error
            _answer(loop, future, found)


def _answer(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[list[Address]],
    found: list[Address] | NameNotResolved,
) -> None:
    def settle() -> None:
        if future.done():
            return  # nobody waits any more
        if isinstance(found, NameNotResolved):
            future.set_exception(found)
        else:
            future.set_result(found)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop is closed: the process ends


def _addresses(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        why = error.strerror or "no answer"
        raise NameNotResolved(
            f"{name} has no address ({why[:1].lower()}{why[1:]}): is the name right, and does "
            "the name server of this host know it?"
        ) from None
    except UnicodeError:
        raise NameNotResolved(f"{name} has no address: it is no name for the DNS") from None
    # A scope (`fe80::1%eth0`) comes apart from the address in Python 3.11, within it elsewhere.
    texts = dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found)
    return [ip_address(text) for text in texts]
