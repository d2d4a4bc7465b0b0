"""Sessions belong to their key."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from kronforce_gateway.failures import Failure
from kronforce_gateway.mcp.rooms import Rooms


class Sessions:
    """Stands for the SDK's manager: serves until it is told to, while it is open."""

    def __init__(self):
        self.open = False
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    @asynccontextmanager
    async def run(self):
        self.open = True
        try:
            yield
        finally:
            self.open = False

    async def handle_request(self, scope, receive, send):
        assert self.open
        self.asked.set()
        await self.go_on.wait()


@pytest.fixture
def made():
    return []


@pytest.fixture
async def rooms(made):
    def make():
        made.append(Sessions())
        return made[-1]

    rooms = Rooms(make, max_rooms=2)
    yield rooms
    for each in made:
        each.go_on.set()
    await rooms.close_all()


async def request(rooms, made, key):
    """A request that is under way, in a room of its own."""
    task = asyncio.create_task(rooms.of(key).handle({}, None, None))
    await made[-1].asked.wait()
    return task


async def test_a_key_has_one_room_and_another_key_another(rooms, made):
    assert rooms.of(b"a") is rooms.of(b"a")
    assert rooms.of(b"b") is not rooms.of(b"a")
    assert len(made) == 2


async def test_closing_a_keys_room_ends_its_sessions_and_no_others(rooms, made):
    for key in (b"a", b"b"):
        under_way = await request(rooms, made, key)
        made[-1].go_on.set()
        await under_way
    await rooms.close(b"a")
    await rooms.close(b"unknown")

    assert [each.open for each in made] == [False, True]


async def test_the_longest_unused_room_makes_place(rooms):
    first = rooms.of(b"a")
    rooms.of(b"b")
    rooms.of(b"a")
    rooms.of(b"c")

    assert len(rooms) == 2
    assert rooms.of(b"a") is first


async def test_rooms_at_work_are_never_closed_for_another(rooms, made):
    under_way = [await request(rooms, made, b"a"), await request(rooms, made, b"b")]

    with pytest.raises(Failure) as refused:
        rooms.of(b"c")

    assert refused.value.status == 503
    for each in under_way:
        each.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
