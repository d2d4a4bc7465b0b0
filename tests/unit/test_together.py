"""Questions that come at the same time: who goes alone, who goes together, and who leaves."""

import asyncio

import pytest

from kronforce.together import Together


class Answering:
    """Doubles numbers, a batch each time that the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Semaphore(0)
        self.error: Exception | None = None
        self.before_answer = lambda: None

    async def __call__(self, questions: list[int]) -> list[int]:
        self.batches.append(questions)
        self.asked.set()
        await self.go.acquire()
        self.before_answer()
        if self.error is not None:
            raise self.error
        return [2 * question for question in questions]

    async def began(self) -> None:
        await self.asked.wait()
        self.asked.clear()


@pytest.fixture
def answering() -> Answering:
    return Answering()


async def start(together, *numbers):
    tasks = [asyncio.create_task(together(number)) for number in numbers]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_one_is_answered_goes_together(answering):
    together = Together(answering, limit=10)
    (first,) = await start(together, 1)
    others = await start(together, 2, 3, 4)
    answering.go.release()
    answering.go.release()

    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert answering.batches == [[1], [2, 3, 4]]


async def test_no_more_than_the_limit_go_together(answering):
    together = Together(answering, limit=2)
    tasks = await start(together, 1, 2, 3, 4, 5)
    for _ in range(4):
        answering.go.release()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
    assert answering.batches == [[1], [2, 3], [4, 5]]


async def test_an_error_is_everybodys_who_asked_with_it_and_nobody_elses(answering):
    together = Together(answering, limit=10)
    (first,) = await start(together, 1)
    others = await start(together, 2, 3)
    answering.go.release()
    assert await first == 2
    answering.error = ValueError("no")
    answering.go.release()
    assert [type(each) for each in await asyncio.gather(*others, return_exceptions=True)] == [
        ValueError,
        ValueError,
    ]
    answering.error = None
    answering.go.release()
    assert await together(4) == 8


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_whoever_leaves_while_it_is_asked_leaves_the_others_their_answers(answering, leaver):
    together = Together(answering, limit=10)
    (first,) = await start(together, 9)
    tasks = await start(together, 1, 2, 3)
    answering.go.release()
    await answering.began()
    assert await first == 18
    await answering.began()
    tasks[leaver].cancel()
    for _ in range(3):
        answering.go.release()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(found.pop(leaver), asyncio.CancelledError)
    assert found == [2 * n for n in (1, 2, 3) if n != leaver + 1]
    answering.go.release()
    assert await together(5) == 10


@pytest.mark.parametrize("leaver", [0, 1])
async def test_whoever_leaves_before_its_turn_is_not_asked_for(answering, leaver):
    together = Together(answering, limit=10)
    (first,) = await start(together, 9)
    tasks = await start(together, 1, 2)
    tasks[leaver].cancel()
    answering.go.release()
    answering.go.release()

    found = await asyncio.gather(first, *tasks, return_exceptions=True)

    assert found[0] == 18
    assert isinstance(found[1 + leaver], asyncio.CancelledError)
    assert answering.batches == [[9], [2 - leaver]]


async def test_one_that_leaves_in_the_moment_of_its_turn_leaves_it_to_the_next(answering):
    together = Together(answering, limit=10)
    (first,) = await start(together, 9)
    tasks = await start(together, 1, 2)
    # Cancelled, and not yet told so, when the turn is given on.
    answering.before_answer = tasks[0].cancel
    answering.go.release()
    answering.go.release()

    found = await asyncio.gather(first, *tasks, return_exceptions=True)

    assert isinstance(found[1], asyncio.CancelledError)
    assert (found[0], found[2]) == (18, 4)
