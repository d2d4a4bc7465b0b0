"""Answers in the order of their requests, several under way at a time, and no task left behind."""

import asyncio
from contextlib import aclosing

import pytest

from kronforce.api.in_order import in_order

DEADLINE_SECS = 10


class Gate:
    """Answers wait until the test lets them go."""

    def __init__(self) -> None:
        self.open: dict[int, asyncio.Event] = {}
        self.changed = asyncio.Event()
        self.cancelled: list[int] = []

    async def answer(self, number: int) -> int:
        self.open[number] = asyncio.Event()
        self.changed.set()
        try:
            await self.open[number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number * 10

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_SECS):
            while len(self.open) < count:
                self.changed.clear()
                await self.changed.wait()


async def numbers(*values):
    for value in values:
        yield value


async def test_answers_come_in_the_order_of_requests_however_they_end():
    gate = Gate()
    async with aclosing(in_order(numbers(1, 2, 3), gate.answer, ahead=8)) as answers:
        first = asyncio.ensure_future(anext(answers))
        await gate.until_begun(3)
        for number in (3, 2, 1):
            gate.open[number].set()
        assert [await first, *[answer async for answer in answers]] == [10, 20, 30]


async def test_no_more_are_under_way_than_are_allowed():
    gate = Gate()
    async with aclosing(in_order(numbers(*range(20)), gate.answer, ahead=2)) as answers:
        first = asyncio.ensure_future(anext(answers))
        # Two queued, one taken out, one waiting for room.
        await gate.until_begun(4)
        gate.open[0].set()
        await first
        assert len(gate.open) <= 5


async def test_an_error_comes_in_its_place_and_ends_the_stream():
    async def answer(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    async with aclosing(in_order(numbers(1, 2, 3), answer, ahead=8)) as answers:
        assert await anext(answers) == 1
        with pytest.raises(ValueError, match="two"):
            await anext(answers)


async def test_what_was_asked_before_the_requests_broke_is_answered():
    async def broken():
        yield 1
        raise ValueError("the stream broke")

    async def answer(number: int) -> int:
        return number

    async with aclosing(in_order(broken(), answer, ahead=8)) as answers:
        assert await anext(answers) == 1
        with pytest.raises(ValueError, match="broke"):
            await anext(answers)


async def test_leaving_early_cancels_what_is_under_way():
    gate = Gate()
    before = asyncio.all_tasks()
    answers = in_order(numbers(*range(20)), gate.answer, ahead=2)
    first = asyncio.ensure_future(anext(answers))
    await gate.until_begun(4)
    gate.open[0].set()
    await first
    await answers.aclose()

    assert gate.cancelled
    assert asyncio.all_tasks() == before
