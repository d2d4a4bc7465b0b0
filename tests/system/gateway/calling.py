"""HTTP calls of tests to a gateway's port, and a gateway as a process of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.rig import processes
from tests.system.rig.cluster import ADMIN_KEY, until
from tests.system.rig.processes import Process

LIMIT_SECS = 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back. Status 0: nothing."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    url: str,
    *,
    verb: str = "GET",
    body: Any = None,
    key: str = ADMIN_KEY,
    ca: Path | None = None,
    **headers: str,
) -> Answer:
    """One call, on a connection of its own."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    if key:
        sent["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=data, method=verb, headers=sent)
    context = None if ca is None else ssl.create_default_context(cafile=str(ca))
    return await asyncio.to_thread(_send, request, context)


def _send(request: urllib.request.Request, context: ssl.SSLContext | None) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_SECS, context=context) as reply:
            return _answer(reply.status, reply)
    except urllib.error.HTTPError as refused:
        with refused:
            return _answer(refused.code, refused)
    except (urllib.error.URLError, ConnectionError):
        return Answer(status=0, headers={}, body=b"")


def _answer(status: int, reply: Any) -> Answer:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Answer(status=status, headers=headers, body=reply.read())


@asynccontextmanager
async def gateway(
    folder: Path, controller: str, *arguments: str, **environ: str
) -> AsyncIterator[tuple[Process, str]]:
    """`kronforce gateway` on a free port; the process and its URL."""
    log = folder / "gateway.log"
    process = await processes.start(
        "gateway",
        ["gateway", "--controller", controller, "--bind", "127.0.0.1:0", *arguments],
        processes.clean_environment() | {"KRONFORCE_RATE_LIMIT_ENABLED": "false"} | environ,
        log,
    )
    try:
        yield process, await _url_of(process)
    finally:
        await process.kill()


async def _url_of(process: Process) -> str:
    found = ""

    async def told() -> bool:
        nonlocal found
        assert process.running, process.tail()
        for line in process.log.read_text().splitlines():
            said = json.loads(line)
            if said.get("action") == "gateway.started":
                found = said["url"]
        return bool(found)

    await until(told, "the gateway to listen", processes.START_LIMIT_SECS)
    return found
