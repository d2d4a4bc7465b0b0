"""Who is called when which descriptor is ready: epoll without ceremony."""

from __future__ import annotations

import select
from collections.abc import Callable

EVENTS_PER_TURN = 256
"""So that a turn, and what it sends, stays short under load."""


class Poller:
    """Readers get `call()`, and a descriptor may ask for writability too."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        self._readers[fd] = call
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        self._writers.pop(fd, None)
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """For a descriptor that is closed right away: the kernel forgets it by itself."""
        self._readers.pop(fd, None)

    def watch_writable(self, fd: int, call: Callable[[], None]) -> None:
        """Beside reading; again and again until unwatch_writable."""
        if fd not in self._writers:
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
        self._writers[fd] = call

    def unwatch_writable(self, fd: int) -> None:
        if self._writers.pop(fd, None) is not None:
            self._epoll.modify(fd, select.EPOLLIN)

    def run_ready(self, timeout: float | None) -> int:
        """Wait up to `timeout` seconds (None: for ever) and call whoever is ready."""
        ready = self._epoll.poll(timeout, EVENTS_PER_TURN)
        for fd, mask in ready:
            if mask & select.EPOLLOUT and (call := self._writers.get(fd)):
                call()
            if mask & ~select.EPOLLOUT and (call := self._readers.get(fd)):
                call()
        return len(ready)

    def close(self) -> None:
        self._epoll.close()
