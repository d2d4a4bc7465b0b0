"""Attacks on the gateway's door, with the real chain behind it."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kronforce.api.local import LocalTransport
from kronforce.api.throttle import FAILURES
from kronforce.v1 import options_pb2
from kronforce_gateway.app import Gateway
from kronforce_gateway.front.settings import FrontSettings
from tests.contract.harness import Served, serve
from tests.unit.gateway.front.door import Answer, Door

JOBS = "/api/jobs"
STRANGER = "203.0.113.7"
PROXY = "10.0.0.1"


class Site:
    """A gateway, called from any address."""

    def __init__(self, served: Served, settings: FrontSettings) -> None:
        self.served = served
        chain = served.chain(options_pb2.SURFACE_HTTP)
        transport = LocalTransport(served.server.endpoints, chain)
        self._gateway = Gateway(transport, settings)

    async def get(self, path: str = JOBS, *, peer: str = STRANGER, **headers: str) -> Answer:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope |= {"path": path, "raw_path": path.encode(), "query_string": b""}
            await self._gateway(scope, receive, send)

        front: Any = app
        return await Door(front=front, seen=[]).call(peer=peer, **headers)


@asynccontextmanager
async def site(folder: Path, **settings: Any) -> AsyncIterator[Site]:
    async with serve(folder) as served:
        yield Site(served, FrontSettings(**settings))


def trusting(*networks: str) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(each) for each in networks)


async def test_guessing_keys_is_over_after_twenty_whatever_the_headers_say(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        for number in range(FAILURES):
            answer = await one.get(
                authorization=f"Bearer kf_{number:040}", x_forwarded_for=f"198.51.100.{number}"
            )
            assert answer.status == 401
        good = (await one.served.key())["authorization"]
        refused = await one.get(authorization=good, x_forwarded_for="198.51.100.99")
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 61
        # Others are not locked out with them.
        assert (await one.get(peer="198.51.100.1", authorization=good)).status == 200


async def test_behind_a_proxy_it_is_the_guesser_who_is_stopped_and_not_the_proxy(
    tmp_path: Path,
) -> None:
    async with site(tmp_path, trusted_proxies=trusting(PROXY)) as one:
        for number in range(FAILURES):
            # What stands left of its own address the guesser wrote itself.
            said = f"192.0.2.{number}, {STRANGER}"
            wrong = f"Bearer kf_{number:040}"
            assert (
                await one.get(peer=PROXY, authorization=wrong, x_forwarded_for=said)
            ).status == 401
        key = (await one.served.key())["authorization"]
        guesser = await one.get(peer=PROXY, authorization=key, x_forwarded_for=STRANGER)
        another = await one.get(peer=PROXY, authorization=key, x_forwarded_for="198.51.100.1")
        assert (guesser.status, another.status) == (429, 200)


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("198.51.100.5", {}, 200),
        (STRANGER, {}, 401),
        (STRANGER, {"x_forwarded_for": "198.51.100.5"}, 401),
        (STRANGER, {"forwarded": "for=198.51.100.5"}, 401),
        (STRANGER, {"x_real_ip": "198.51.100.5", "client_ip": "198.51.100.5"}, 401),
        (PROXY, {"x_forwarded_for": "198.51.100.5"}, 200),
        (PROXY, {"forwarded": 'for="198.51.100.5:4711"'}, 200),
        (PROXY, {"x_forwarded_for": f"198.51.100.5, {STRANGER}"}, 401),
        (PROXY, {"x_forwarded_for": f"198.51.100.5, {PROXY}"}, 200),
        (PROXY, {"x_forwarded_for": STRANGER, "forwarded": "for=198.51.100.5"}, 400),
        (PROXY, {"x_forwarded_for": "198.51.100.5, nonsense"}, 401),
    ],
)
async def test_a_keys_networks_hold_against_whatever_is_written_in_headers(
    tmp_path: Path, peer: str, headers: dict[str, str], status: int
) -> None:
    async with site(tmp_path, trusted_proxies=trusting(PROXY)) as one:
        key = (await one.served.key(networks=("198.51.100.0/24",)))["authorization"]
        assert (await one.get(peer=peer, authorization=key, **headers)).status == status


async def test_headers_of_gateways_mean_nothing_to_one(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        key = (await one.served.key(networks=("198.51.100.0/24",)))["authorization"]
        answer = await one.get(
            authorization=key, x_kronforce_surface="mcp", x_forwarded_for="198.51.100.5"
        )
        assert answer.status == 401


async def test_no_answer_opens_anything_to_pages_of_other_origins(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        key = (await one.served.key())["authorization"]
        for path in (JOBS, "/api/health", "/api/config", "/api/nowhere", "/", "/mcp"):
            answer = await one.get(path, authorization=key, origin="https://evil.example")
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
