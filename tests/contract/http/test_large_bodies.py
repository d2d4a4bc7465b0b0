"""Large bodies: of who is not known to have a key they are not read, which takes time."""

from http import HTTPStatus
from typing import Any

from kronforce.api.throttle import FAILURES
from kronforce_gateway.calls import MAX_STRANGERS_BODY
from tests.contract.access.world import ADMIN_KEY, bearer
from tests.contract.http.asgi import Answer, ask

LARGE = b"{" + b" " * MAX_STRANGERS_BODY
REGISTER, CALLBACK = "/api/agents/register", "/api/callbacks/execution-result"


async def test_of_strangers_nothing_large_is_read_and_wrong_keys_count_once(site) -> None:
    async def far(scope: Any, receive: Any, send: Any) -> None:
        await site.gateway({**scope, "client": ("203.0.113.7", 4711)}, receive, send)

    async def post(path: str, key: str = "") -> Answer:
        return await ask(far, "POST", path, body=LARGE, headers=bearer(key) if key else {})

    assert (await post(REGISTER)).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert (await post(CALLBACK)).status == HTTPStatus.UNAUTHORIZED
    statuses = [(await post("/api/jobs", key="kf_wrong")).status for _ in range(FAILURES)]
    expected = [HTTPStatus.UNAUTHORIZED] * (FAILURES - 1) + [HTTPStatus.TOO_MANY_REQUESTS]
    assert statuses == expected


async def test_who_has_a_key_and_agents_of_this_host_send_as_much_as_they_may(site) -> None:
    answer = await ask(site.gateway, "POST", "/api/jobs", body=LARGE, headers=bearer(ADMIN_KEY))
    assert (answer.status, answer.json()["reason"]) == (HTTPStatus.BAD_REQUEST, "INVALID_FIELD")
    reported = await ask(site.gateway, "POST", CALLBACK, body=LARGE)
    assert reported.status == HTTPStatus.BAD_REQUEST
