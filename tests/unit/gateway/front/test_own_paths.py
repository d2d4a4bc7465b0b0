"""/api/health, /api/config and /metrics: what they say, and to whom."""

from __future__ import annotations

import ipaddress
from typing import Any

import orjson
import pytest
from google.rpc import status_pb2

from kronforce.api.transport import CallFailed
from kronforce.v1.key_service_pb2 import WhoAmIResponse
from kronforce.v1.system_service_pb2 import GetHealthResponse
from kronforce_gateway.app import Gateway
from kronforce_gateway.front.settings import FrontSettings
from tests.unit.gateway.front.door import Answer, Door

UNAUTHENTICATED, UNAVAILABLE = 16, 14
GOOD = "Bearer kf_good"
LOCAL = FrontSettings(local=True)


class Controller:
    """A transport to a controller that is as a test wants it."""

    def __init__(self) -> None:
        self.db_ok = True
        self.away = False
        self.peers: list[str] = []

    async def unary(self, method: Any, _request: Any, **options: Any) -> Any:
        self.peers.append(options["peer"])
        if self.away:
            raise CallFailed(status_pb2.Status(code=UNAVAILABLE, message="10.0.0.9 is not there"))
        if method.name == "GetHealth":
            status = "ok" if self.db_ok else "degraded"
            return GetHealthResponse(status=status, version="1", db_ok=self.db_ok)
        assert method.name == "WhoAmI"
        if options["metadata"].get("authorization") != GOOD:
            raise CallFailed(status_pb2.Status(code=UNAUTHENTICATED, message="no key"))
        return WhoAmIResponse()


async def text() -> bytes:
    return b"kronforce_db_ok 1\n"


async def get(
    path: str,
    controller: Controller | None = None,
    *,
    verb: str = "GET",
    peer: str = "127.0.0.1",
    settings: FrontSettings | None = None,
    **headers: str,
) -> Answer:
    gateway: Any = Gateway(controller or Controller(), settings, metrics=text)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["path"], scope["raw_path"], scope["query_string"] = path, path.encode(), b""
        await gateway(scope, receive, send)

    return await Door(front=app, seen=[]).call(verb=verb, peer=peer, **headers)


async def test_health_is_what_the_controller_says() -> None:
    answer = await get("/api/health")
    assert answer.status == 200
    assert orjson.loads(answer.body) == {"status": "ok", "version": "1", "db_ok": True}


async def test_a_controller_without_its_database_is_not_to_be_sent_callers() -> None:
    controller = Controller()
    controller.db_ok = False
    answer = await get("/api/health", controller)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "2"
    assert orjson.loads(answer.body)["status"] == "degraded"


async def test_a_gateway_says_that_its_controller_is_away_and_not_where_it_is() -> None:
    controller = Controller()
    controller.away = True
    answer = await get("/api/health", controller, settings=FrontSettings(version="7"))
    assert answer.status == 503
    said = {"status": "unreachable", "version": "7", "db_ok": False}
    assert orjson.loads(answer.body) == said


@pytest.mark.parametrize("path", ["/api/health", "/api/config", "/metrics"])
async def test_they_are_only_read_and_a_head_has_no_body(path: str) -> None:
    refused = await get(path, verb="POST")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    head = await get(path, verb="HEAD", settings=LOCAL)
    assert (head.status, head.body) == (200, b"")


async def test_config_says_what_is_on_and_how_much_may_be_asked() -> None:
    settings = FrontSettings(
        version="7", public_url="https://kf.example", rate_limits={1: 30, 2: 120, 3: 0}
    )
    said = orjson.loads((await get("/api/config", settings=settings)).body)
    assert said["version"] == "7"
    assert said["public_url"] == "https://kf.example"
    assert isinstance(said["mcp_enabled"], bool)
    assert said["oidc_enabled"] is False
    limits = {"enabled": True, "public": 30, "authenticated": 120, "agent": 0}
    assert said["rate_limits"] == limits
    assert said["limits"] == {"body_bytes": 4 << 20}


BEHIND_PROXY = FrontSettings(local=True, trusted_proxies=(ipaddress.ip_network("127.0.0.1"),))


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "status"),
    [
        (LOCAL, "127.0.0.1", {}, 200),
        (LOCAL, "::1", {}, 200),
        # Not on this machine, or not certainly so.
        (LOCAL, "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, 401),
        (LOCAL, "127.0.0.1", {"via": "1.1 proxy"}, 401),
        (BEHIND_PROXY, "127.0.0.1", {"x_forwarded_for": "203.0.113.7"}, 401),
        (FrontSettings(), "127.0.0.1", {}, 401),
        (FrontSettings(), "203.0.113.7", {}, 401),
        (FrontSettings(), "203.0.113.7", {"authorization": "Bearer kf_bad"}, 401),
        (FrontSettings(), "203.0.113.7", {"authorization": GOOD}, 200),
        (FrontSettings(metrics_public=True), "203.0.113.7", {}, 200),
    ],
)
async def test_metrics_are_open_on_this_machine_alone_unless_somebody_says_so(
    settings: FrontSettings, peer: str, headers: dict[str, str], status: int
) -> None:
    answer = await get("/metrics", peer=peer, settings=settings, **headers)
    assert answer.status == status
    assert (b"kronforce_db_ok 1" in answer.body) == (status == 200)
    if status == 200:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
