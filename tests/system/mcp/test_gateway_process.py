"""The same tools through a gateway that is a process of its own, which says: by MCP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.gateway.calling import gateway
from tests.system.mcp.conftest import Site
from tests.system.rig.cluster import cluster

pytestmark = pytest.mark.timeout(110)

JOB = {"name": "far", "task": {"type": "noop"}, "target": {"type": "any"}}


async def test_an_ai_client_works_before_another_process(tmp_path: Path) -> None:
    told: list[str] = []

    async def heard(_progress: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with cluster(tmp_path, "") as one:
        await one.start_controller(
            KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_TRUSTED_PROXIES="127.0.0.1"
        )
        await one.start_agent()
        site = Site(one)
        key = await site.key("far away", "operator", only_mcp=True)
        async with gateway(tmp_path, one.address) as (process, site.url):
            async with site.client("legacy", key) as client:

                async def call(tool: str, **arguments: Any) -> Any:
                    result = await client.call_tool(tool, arguments, progress_callback=heard)
                    assert not result.is_error, result.content
                    return result.structured_content

                await call("create_job", job=JOB)
                run = (await call("trigger_job", job_id="far"))["run"]
                ended = await call("watch_run", run_id=run["id"])
            entries = [entry async for entry in one.client.audit.list(actor="far away")]
            assert await process.stop() == 0

    assert (run["trigger"], ended["state"]) == ("mcp", "succeeded")
    assert told
    assert {(entry.surface, entry.peer) for entry in entries} == {("mcp", "127.0.0.1")}
