"""A whole controller and the gateway before it, without a port of HTTP's own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest

from kronforce_gateway.app import Gateway
from tests.contract.access.world import ADMIN_KEY, World, bearer, world
from tests.contract.http.asgi import Answer, ask


class Site:
    """`await site("GET", "/api/jobs")`, as an admin unless `key` says otherwise (None: no key)."""

    def __init__(self, made: World) -> None:
        self.world = made
        self.gateway: Gateway = made.gateways["in process"]

    async def __call__(
        self,
        verb: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = ADMIN_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {**(bearer(key) if key else {}), **(headers or {})}
        text = b"" if body is None else orjson.dumps(body)
        return await ask(self.gateway, verb, path, body=text, headers=sent)

    async def ok(self, verb: str, path: str, body: Any = None, **options: Any) -> Any:
        """What it answers, which is no error."""
        answer = await self(verb, path, body, **options)
        assert answer.status < 400, answer.body
        return answer.json()


@pytest.fixture
async def site(tmp_path) -> AsyncIterator[Site]:
    async with world(tmp_path, empty=True) as made:
        yield Site(made)
