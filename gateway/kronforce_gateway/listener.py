"""The gateway's port: uvicorn in the event loop that is already there.

Signals are the process's own business, so uvicorn's are left out; stopping waits for short calls
and ends the rest.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn

from kronforce_gateway.front.connections import Connections, until_next_second

# Calls under way when a stop begins get this long.
STOP_GRACE_SECS = 3
# Idle connections are closed after this, so that a browser's next page need not open one.
KEEP_ALIVE_SECS = 75
BACKLOG = 1_024


class CannotListen(Exception):
    """The port cannot be had; the message says why."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, monotonic: Callable[[], float]) -> None:
        super().__init__(config)
        self._monotonic = monotonic
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Have `serve` end."""
        self.should_exit = True
        self._stop.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Keep the time of answers' `Date`, as uvicorn does, without a look ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), until_next_second(self._monotonic()))


class Listener:
    """One listening port. `start`, then `stop`."""

    def __init__(
        self,
        app: Any,
        *,
        bind: str,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        # Ends what would not end by itself.
        self._on_stop = on_stop
        self._bind = bind
        self._connections = Connections(monotonic)
        # Its warnings are about what callers send, a line each; what matters is said by us.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            loop="none",
            http=self._connections.protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_SECS,
            timeout_graceful_shutdown=STOP_GRACE_SECS,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
        )
        self._server = _Server(config, monotonic)
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises CannotListen."""
        sock = _socket(self._bind)
        self.port = sock.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[sock]), name="http")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise CannotListen(f"cannot serve HTTP on {self._bind}")
            await asyncio.sleep(0)
        self._watch = asyncio.create_task(self._connections.watch(), name="http-connections")

    async def stop(self) -> None:
        """Take no more, let short calls finish and end streams."""
        if self._on_stop is not None:
            await self._on_stop()
        self._server.stop()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await self._task
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)


def _socket(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(error.strerror or str(error)) from error
    sock.setblocking(False)
    return sock
