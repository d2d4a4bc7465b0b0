"""The example that follows a run over HTTP, through a cut."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from kronforce.v1.job_pb2 import Job
from kronforce_client.dialect import parse
from tests.fakes.tcp_proxy import TcpProxy
from tests.system.rig.cluster import ADMIN_KEY, cluster

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "python" / "follow_over_http.py"
COUNT = "i=0; while [ ! -e {gate} ]; do i=$((i+1)); echo line $i; sleep 0.05; done"


async def test_output_is_followed_through_a_cut(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with cluster(tmp_path, "") as made:
        await made.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_TRUST_OPERATORS="true")
        await made.start_agent()
        command = COUNT.replace("{gate}", str(gate))
        job = {"name": "count", "task": {"type": "shell", "command": command},
               "target": {"type": "any"}}  # fmt: skip
        await made.client.jobs.create(parse(Job, job))
        endpoint = json.loads((made.data_dir / "endpoint.json").read_text())
        async with TcpProxy(endpoint["http"].removeprefix("http://")) as proxy:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(EXAMPLE), "count", f"http://{proxy.address}",
                env={**os.environ, "KRONFORCE_KEY": ADMIN_KEY},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout is not None
            lines = [await process.stdout.readline() for _ in range(6)]
            proxy.drop()
            assert process.stderr is not None
            assert b"connection lost" in await process.stderr.readline()
            gate.touch()
            out, err = await process.communicate()

    told = [line for line in b"".join([*lines, out]).decode().splitlines() if line[:2] != "--"]
    assert process.returncode == 0, err
    assert told == [f"line {number + 1}" for number in range(len(told))]
    assert out.decode().endswith("-- succeeded\n")
