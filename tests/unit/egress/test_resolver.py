"""Lookups on real threads, with names that need no name server."""

import asyncio
import threading
from ipaddress import ip_address

import pytest

from kronforce_egress import resolver as resolver_module
from kronforce_egress.client import EgressClient
from kronforce_egress.errors import NameNotResolved
from kronforce_egress.message import Request
from kronforce_egress.policy import AGENT
from kronforce_egress.resolver import THREADS_MAX, SystemResolver
from kronforce_egress.urls import parse_url


def workers() -> int:
    return sum(thread.name == "egress-resolver" for thread in threading.enumerate())


async def test_a_hundred_lookups_share_a_few_threads_that_keep_no_process_alive() -> None:
    before = workers()
    resolver = SystemResolver()
    found = await asyncio.gather(*[resolver.resolve("localhost") for _ in range(100)])

    assert all(ip_address("127.0.0.1") in addresses for addresses in found)
    assert all(len(set(addresses)) == len(addresses) for addresses in found)
    assert workers() - before <= THREADS_MAX
    assert all(t.daemon for t in threading.enumerate() if t.name == "egress-resolver")


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 300, "x..y"])
async def test_a_name_without_an_address_says_so(name: str) -> None:
    with pytest.raises(NameNotResolved, match="has no address"):
        await SystemResolver().resolve(name)


def test_an_answer_for_a_loop_that_is_gone_is_nobodys() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    resolver_module._answer(loop, future, [])

    assert not future.done()


async def test_a_lookup_that_is_cancelled_leaves_its_answer_unread() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[resolver_module.Address]] = loop.create_future()
    future.cancel()
    resolver_module._answer(loop, future, [])
    await asyncio.sleep(0)

    assert future.cancelled()


async def test_a_request_is_cancelled_while_its_name_is_looked_up() -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    class Silent:
        async def resolve(self, name: str) -> list[resolver_module.Address]:
            asked.set()
            await never.wait()
            raise AssertionError(name)

    async def send() -> None:
        async with EgressClient(AGENT, Silent()).send(Request(url=parse_url("http://h/"))):
            pass

    async with asyncio.timeout(30):
        sending = asyncio.ensure_future(send())
        await asked.wait()
        sending.cancel()
        await asyncio.wait({sending})

    assert sending.cancelled()
