"""A PostgreSQL of one test's own that can be away, behind an address that stays the same.

Stopping is a crash of the server: connections are cut, in the middle of a COMMIT even. It comes
back on another port, as the standby that took over does; the proxy in between is the address that
moved. What was cut off is not put right by the test: whoever lost its connection makes another.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.tcp_proxy import TcpProxy

SCRIPT = Path(__file__).parents[2] / "services" / "postgres.py"
LIMIT_SECS = 90.0


class AwayServer:
    """Use `away_server()`, which ends it."""

    def __init__(self, proxy: TcpProxy, folder: str) -> None:
        self._proxy = proxy
        self._folder = folder
        self.url = f"postgresql://postgres@{proxy.address}/postgres"

    async def stop(self) -> None:
        """As if it had crashed; nobody answers any more."""
        await self._script("pause")
        self._proxy.refuse()

    async def come_back(self) -> None:
        """On its data and another port."""
        self._proxy.move_to(urlsplit(await self._script("resume")).netloc.rpartition("@")[2])
        self._proxy.heal()

    async def begin(self) -> None:
        self._proxy.move_to(urlsplit(await self._script("start")).netloc.rpartition("@")[2])

    async def end(self) -> None:
        await self._script("stop")

    async def _script(self, word: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(SCRIPT), word),
            env={
                **os.environ,
                "KRONFORCE_POSTGRES_SCRATCH": "1",
                "KRONFORCE_POSTGRES_NAME": "away",
                "TMPDIR": self._folder,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(LIMIT_SECS):
            said, _ = await process.communicate()
        assert process.returncode == 0, word
        return said.decode().strip()


@asynccontextmanager
async def away_server() -> AsyncIterator[AwayServer]:
    """A server that runs."""
    with tempfile.TemporaryDirectory() as folder:
        # User `postgres` must be able to reach it.
        os.chmod(folder, 0o755)  # noqa: PTH101 - a Path would count as blocking
        async with TcpProxy("127.0.0.1:1") as proxy:
            server = AwayServer(proxy, folder)
            await server.begin()
            try:
                yield server
            finally:
                await server.end()
