"""A connection that is dead and says nothing: a NAT forgot it, or the far end lost its power."""

import pytest

from kronforce_client import AsyncClient, calls
from tests.fakes.api_server import KEY, FakeController
from tests.fakes.tcp_proxy import TcpProxy


@pytest.fixture
async def fake():
    async with FakeController() as server:
        server.add_job("hello")
        yield server


async def test_a_call_on_a_dead_connection_is_made_again_on_a_new_one(fake, monkeypatch):
    monkeypatch.setattr(calls, "KEEPALIVE_SECS", 0.3)
    monkeypatch.setattr(calls, "KEEPALIVE_ANSWER_SECS", 0.3)
    async with TcpProxy(fake.address) as proxy:
        async with AsyncClient(proxy.address, KEY) as client:
            await client.jobs.get("hello")
            proxy.strand()
            assert (await client.jobs.get("hello")).name == "hello"
        assert proxy.accepted == 2


def test_a_dead_connection_is_noticed_while_the_call_may_still_be_made_again():
    noticed = calls.KEEPALIVE_SECS + calls.KEEPALIVE_ANSWER_SECS
    assert noticed < calls.DEFAULT_TIMEOUT_SECS
    # The controller takes pings that come less often than this (`api/server.py`).
    assert calls.KEEPALIVE_SECS > 9
