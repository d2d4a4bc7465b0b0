"""TLS of the gateway's port, in the controller's process and in one of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.gateway.calling import call, gateway
from tests.system.rig import processes
from tests.system.rig.cluster import ADMIN_KEY, until
from tests.system.tls.certificates import make_authority, make_server

pytestmark = pytest.mark.timeout(110)


async def test_both_speak_tls_and_the_one_checks_the_others_certificate(tmp_path: Path) -> None:
    authority, other = make_authority(tmp_path, "ca"), make_authority(tmp_path, "other")
    certificate, key = make_server(tmp_path, authority)
    tls = {"KRONFORCE_TLS_CERT": str(certificate), "KRONFORCE_TLS_KEY": str(key)}
    told = tmp_path / "controller" / "endpoint.json"
    controller = await processes.start(
        "controller",
        ["controller", "--data-dir", str(told.parent)],
        processes.clean_environment()
        | tls
        | {
            "KRONFORCE_GRPC_BIND": "127.0.0.1:0",
            "KRONFORCE_BIND": "127.0.0.1:0",
            "KRONFORCE_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            "KRONFORCE_TRUSTED_PROXIES": "127.0.0.1",
        },
        tmp_path / "controller.log",
    )

    async def serving() -> bool:
        assert controller.running, controller.tail()
        return told.exists()

    try:
        await until(serving, "the controller to listen")
        endpoint = json.loads(told.read_text())
        trusted = ("--ca-file", str(authority.certificate))
        async with gateway(tmp_path, endpoint["address"], *trusted, **tls) as (_, outside):
            for url in (endpoint["http"], outside):
                answer = await call(f"{url}/api/auth/me", ca=authority.certificate)
                assert answer.status == 200
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
                # Whoever trusts another CA gets nothing, and neither does plain HTTP.
                assert (await call(f"{url}/api/health", ca=other.certificate)).status == 0
                plain = url.replace("https://", "http://")
                assert (await call(f"{plain}/api/health")).status == 0
        (tmp_path / "gateway.log").unlink()
        mistrusted = ("--ca-file", str(other.certificate))
        async with gateway(tmp_path, endpoint["address"], *mistrusted) as (_, url):
            assert (await call(f"{url}/api/health")).json["status"] == "unreachable"
    finally:
        await controller.kill()
