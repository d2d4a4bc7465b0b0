"""The protocol's own conformance suite against the gateway, for each revision that is served.

The suite sends no key, so one is put into what it sends on the way in; what is expected to fail
stands with its reason in `conformance/`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kronforce_gateway.front.hosts import LOCAL_NAMES, Hosts
from kronforce_gateway.listener import Listener
from tests.contract.access.world import ADMIN_KEY, world

SERVICE = Path(__file__).resolve().parents[2] / "services" / "mcp_conformance.py"
EXPECTED = Path(__file__).parent / "conformance"
UNAVAILABLE = 3
LIMIT_SECS = 100


@pytest.fixture(scope="session")
def suite() -> list[str]:
    """Give the command; where npm cannot fetch it the test is skipped, but never in CI."""
    done = subprocess.run(
        [sys.executable, str(SERVICE)], capture_output=True, text=True, check=False
    )
    if done.returncode == UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(f"needs npm: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.timeout(500)
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_server_conforms_but_for_what_is_explained(suite, revision, tmp_path):
    async with world(tmp_path) as made:
        gateway = made.gateways["in process"]
        # As an installation has it on loopback.
        gateway._front._hosts = Hosts(LOCAL_NAMES)

        async def with_key(scope: Any, receive: Any, send: Any) -> None:
            key = (b"authorization", f"Bearer {ADMIN_KEY}".encode())
            scope["headers"] = [*scope["headers"], key]
            await gateway(scope, receive, send)

        listener = Listener(with_key, bind="127.0.0.1:0", on_stop=gateway.stop)
        await listener.start()
        code, said = await _run(suite, f"http://127.0.0.1:{listener.port}", revision, tmp_path)
        await listener.stop()

    assert code == 0, said


async def _run(suite: list[str], url: str, revision: str, folder: Path) -> tuple[int, str]:
    flags = ["--requirements", revision, "-o", str(folder / "results")]
    expected = ["--expected-failures", str(EXPECTED / f"{revision}.yaml")]
    process = await asyncio.create_subprocess_exec(
        *suite, "server", "--url", f"{url}/mcp", *flags, *expected,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(LIMIT_SECS * 3):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()[-6_000:]
