"""schemathesis against a real gateway, by the committed OpenAPI document.

It runs as a process of its own, as a user would run it, so that its workers and its thousands of
cases share nothing with the test. The copy of the document that it reads is stricter than the
committed one: of what comes back, a key that is not described is a mistake, though clients must
live with one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.system.rig.cluster import ADMIN_KEY, Cluster

CHECKOUT = Path(__file__).resolve().parents[3]
DOCUMENT = CHECKOUT / "docs" / "openapi.json"
CONFIG = CHECKOUT / "tests" / "system" / "openapi" / "schemathesis.toml"
SEED = "20261121"


async def run(cluster: Cluster, *options: str) -> tuple[int, str]:
    """The exit code, and all it printed. The controller must serve HTTP."""
    endpoint = json.loads((cluster.data_dir / "endpoint.json").read_text())
    document = cluster.folder / "openapi.json"
    document.write_text(json.dumps(strict(json.loads(DOCUMENT.read_text(encoding="utf-8")))))
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command, "the development requirements have it"
    process = await asyncio.create_subprocess_exec(
        command,
        *("--config-file", str(CONFIG), "run", str(document), "--url", endpoint["http"]),
        *("--header", f"Authorization: Bearer {ADMIN_KEY}"),
        *("--seed", SEED, "--workers", "2", "--generation-database", "none", *options),
        cwd=cluster.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


def strict(api: dict[str, Any]) -> dict[str, Any]:
    """The document, with replies that hold nothing else than what is described."""
    schemas = api["components"]["schemas"]
    for name in replied(api):
        for part in _objects(schemas[name]):
            part.setdefault("additionalProperties", False)
    return api


def replied(api: dict[str, Any]) -> set[str]:
    """The components that replies are made of."""
    schemas = api["components"]["schemas"]
    found: set[str] = set()
    waiting: list[Any] = [
        operation["responses"] for verbs in api["paths"].values() for operation in verbs.values()
    ]
    waiting.append(api["components"]["responses"])
    while waiting:
        for name in _named(waiting.pop()):
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _named(at: Any) -> Iterator[str]:
    if isinstance(at, dict):
        if isinstance(reference := at.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for each in at.values():
            yield from _named(each)
    elif isinstance(at, list):
        for each in at:
            yield from _named(each)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Objects with fields; a map has none, and is open on purpose."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("properties"):
            yield schema
        for each in schema.values():
            yield from _objects(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _objects(each)
