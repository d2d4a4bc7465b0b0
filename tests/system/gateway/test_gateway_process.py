"""A gateway that is a process of its own: the same answers, with whatever becomes of others."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.system.gateway.calling import Answer, call, gateway
from tests.system.rig.cluster import ADMIN_KEY, Cluster, cluster, until
from tests.system.rig.processes import clean_environment, start

pytestmark = pytest.mark.timeout(110)

JOB = {
    "name": "nightly",
    "task": {"type": "shell", "command": "true"},
    "schedule": {"type": "on_demand"},
}
READS = [
    "/api/health",
    "/api/jobs",
    "/api/jobs?page=1&per_page=1",
    "/api/jobs/nightly",
    "/api/jobs/nobody",
    "/api/jobs/groups",
    "/api/jobs?color=red",
    "/api/auth/me",
    "/api/keys",
    "/api/agents",
    "/api/nowhere",
    "/api/openapi.json",
]
# Of one answer alone.
OWN = {"date", "x-request-id"}


async def started(one: Cluster) -> str:
    """A controller with HTTP that trusts this host; its URL."""
    await one.start_controller(KRONFORCE_BIND="127.0.0.1:0", KRONFORCE_TRUSTED_PROXIES="127.0.0.1")
    return str(json.loads((one.data_dir / "endpoint.json").read_text())["http"])


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    kept = {name: value for name, value in answer.headers.items() if name not in OWN}
    return answer.status, kept, answer.body


async def test_it_answers_what_the_controllers_own_gateway_answers(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as one:
        inside = await started(one)
        async with gateway(tmp_path, one.address) as (process, outside):
            made = await call(f"{outside}/api/jobs", verb="POST", body=JOB)
            assert made.status == 201, made.body
            # Few enough wrong ones for nobody to be throttled.
            wrong = [(path, key) for path in READS[:4] for key in ("", "kf_" + "0" * 40)]
            for path, key in [*((path, ADMIN_KEY) for path in READS), *wrong]:
                answers = [await call(url + path, key=key) for url in (inside, outside)]
                assert comparable(answers[0]) == comparable(answers[1]), path

            audit = (await call(f"{outside}/api/audit-log?operation=job.created")).json["data"]
            assert [(line["surface"], line["peer"]) for line in audit] == [("http", "127.0.0.1")]
            assert await process.stop() == 0


async def test_it_outlives_its_controller_and_finds_the_next_one(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as one:
        await started(one)
        async with gateway(tmp_path, one.address) as (process, url):
            assert (await call(f"{url}/api/health")).json["status"] == "ok"
            assert one.controller is not None
            await one.controller.kill()

            health = await call(f"{url}/api/health")
            assert (health.status, health.json["status"]) == (503, "unreachable")
            jobs = await call(f"{url}/api/jobs")
            assert (jobs.status, jobs.json["reason"]) == (503, "CONTROLLER_UNREACHABLE")
            assert jobs.headers["retry-after"]

            await one.start_controller()

            async def served() -> bool:
                return (await call(f"{url}/api/jobs")).status == 200

            await until(served, "the gateway to find the controller again")
            assert (await call(f"{url}/api/health")).status == 200
            assert await process.stop() == 0


async def test_what_it_cannot_use_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    bind = f"127.0.0.1:{taken.getsockname()[1]}"
    cases = {
        "which controller?": [],
        "choose another address with --bind": ["--controller", "127.0.0.1:1", "--bind", bind],
        "cannot read the CA file": ["--controller", "127.0.0.1:1", "--ca-file", "/nowhere.pem"],
        "--tls-key is missing": ["--controller", "127.0.0.1:1", "--tls-cert", "cert.pem"],
        "is no address": ["--controller", "a:b:c"],
    }
    for sentence, arguments in cases.items():
        log = tmp_path / "refused.log"
        log.unlink(missing_ok=True)
        process = await start("gateway", ["gateway", *arguments], clean_environment(), log)
        assert await process.ended in (1, 2), process.tail()
        assert sentence in process.tail()
        assert "Traceback" not in process.tail()
    taken.close()
