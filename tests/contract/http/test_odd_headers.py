"""Headers that hold what gRPC's metadata cannot: the same before a gRPC channel as in process."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

import orjson
import pytest

from tests.contract.access.world import ADMIN_KEY, World, world
from tests.contract.http.asgi import ask

KEY = f"Bearer {ADMIN_KEY}"
ODD = ("\xe9\xff", "a\tb", "\x7f")
SESSION = "/api/auth/session"


@pytest.fixture
async def made(tmp_path) -> AsyncIterator[World]:
    async with world(tmp_path, empty=True) as found:
        yield found


async def statuses(made: World, verb: str, path: str, headers: Mapping[str, str], **sent) -> set:
    """What both gateways answer."""
    return {
        (await ask(gateway, verb, path, headers=headers, **sent)).status
        for gateway in made.gateways.values()
    }


async def test_headers_that_go_with_a_call_may_hold_anything(made):
    for name in ("client-id", "traceparent", "tracestate", "x-request-id"):
        for odd in ODD:
            headers = {"authorization": KEY, name: odd}
            assert await statuses(made, "GET", "/api/jobs", headers) == {HTTPStatus.OK}, name
    polled = {"authorization": KEY, "host": "\xe9"}
    found = await statuses(made, "GET", "/api/agent-queue/x/next", polled)
    assert found == {HTTPStatus.FORBIDDEN}


async def test_what_is_no_key_is_refused_as_none(made):
    for odd in ODD:
        wrong = {"authorization": f"Bearer {odd}"}
        assert await statuses(made, "GET", "/api/jobs", wrong) == {HTTPStatus.UNAUTHORIZED}, odd
        page = {"origin": odd}
        found = await statuses(made, "GET", "/api/agents/x/task-types", page)
        assert found == {HTTPStatus.UNAUTHORIZED}, odd
    body = orjson.dumps({"key": "kf_\x01"})
    assert await statuses(made, "POST", SESSION, {}, body=body) == {HTTPStatus.BAD_REQUEST}
