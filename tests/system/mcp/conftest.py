"""A controller with its gateway, one agent, and the SDK's own client to `/mcp`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from kronforce.v1.api_key_pb2 import Role
from kronforce.v1.options_pb2 import SURFACE_MCP
from tests.system.rig.cluster import ADMIN_KEY, Cluster, cluster

CALL_LIMIT_SECS = 60.0
# How the SDK asks for the revisions with sessions, and for the newest that the server has.
MODES = ("legacy", "auto")


class Site:
    """The gateway, and clients to it."""

    def __init__(self, made: Cluster) -> None:
        self.cluster = made
        self.url: str = json.loads((made.data_dir / "endpoint.json").read_text())["http"]

    @asynccontextmanager
    async def client(self, mode: str = "auto", key: str = ADMIN_KEY) -> AsyncIterator[Client]:
        """A client with a key, connected."""
        headers = {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=CALL_LIMIT_SECS) as http:
            over = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(over, mode=mode) as client:
                yield client

    async def key(self, name: str, role: str = "viewer", *, only_mcp: bool = False) -> str:
        surface = SURFACE_MCP if only_mcp else 0
        made = await self.cluster.client.keys.create(
            name, Role.Value(f"ROLE_{role.upper()}"), surface=surface
        )
        return str(made.secret)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give the same to all tests of a module, which share names."""
    folder: Path = tmp_path_factory.mktemp("mcp")
    async with cluster(folder, "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0")
        await made.start_agent()
        yield Site(made)
