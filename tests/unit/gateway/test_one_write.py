"""What is written in one turn of the loop is sent together, in order, and nothing is lost."""

import asyncio

import pytest

from kronforce_gateway.front.one_write import AT_ONCE, OneWrite


class Wire:
    """Notes what it is given, as a transport would send it."""

    def __init__(self):
        self.sent, self.closed = [], False

    def write(self, data):
        self.sent.append(data)

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 3


@pytest.fixture
def wire():
    return Wire()


async def test_head_and_body_go_together(wire):
    one = OneWrite(wire)
    one.write(b"head")
    one.write(b"body")
    assert (wire.sent, one.get_write_buffer_size()) == ([], 11)
    await asyncio.sleep(0)
    assert (wire.sent, one.get_write_buffer_size()) == ([b"headbody"], 3)


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_sends_what_is_left(wire, end):
    one = OneWrite(wire)
    one.write(b"last words")
    getattr(one, end)()
    assert (wire.sent, wire.closed) == ([b"last words"], True)
    one.write(b"unheard")
    await asyncio.sleep(0)
    assert wire.sent == [b"last words"]


async def test_much_is_not_held_back(wire):
    one = OneWrite(wire)
    one.write(b"x" * AT_ONCE)
    one.write(b"y")
    assert wire.sent == [b"x" * AT_ONCE + b"y"]
    await asyncio.sleep(0)
    assert len(wire.sent) == 1


async def test_a_caller_that_still_sends_is_not_cut_off(wire):
    coming = True
    one = OneWrite(wire, lambda: coming)
    one.write(b"too large")
    one.close()
    assert (wire.sent, wire.closed, one.lingering) == ([b"too large"], False, True)
    coming = False
    one.close()
    assert (wire.closed, one.lingering) == (True, False)


async def test_lingering_ends_by_a_second_close(wire):
    one = OneWrite(wire, lambda: True)
    one.close()
    one.close()
    assert wire.closed
