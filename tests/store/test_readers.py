"""Questions to reader threads: each is answered once, whatever becomes of the others."""

import asyncio
import threading

import pytest

from kronforce.store.readers import Readers


@pytest.fixture
def readers():
    made = Readers(2)
    yield made
    made.close()


async def test_each_question_gets_its_own_answer_and_its_own_error(readers):
    def even(number):
        if number % 2:
            raise ValueError(number)
        return number

    answers = await asyncio.gather(
        *(readers.ask(lambda n=n: even(n)) for n in range(200)), return_exceptions=True
    )

    assert answers[::2] == list(range(0, 200, 2))
    assert [type(each) for each in answers[1::2]] == [ValueError] * 100


async def test_nobody_who_left_is_asked_for_and_the_others_are_answered(readers):
    going_on, asked = threading.Event(), []
    held = [readers.ask(going_on.wait) for _ in range(2)]
    left = readers.ask(lambda: asked.append("left"))
    behind = readers.ask(lambda: asked.append("behind"))

    left.cancel()
    held[1].cancel()
    going_on.set()
    await behind

    assert asked == ["behind"]
    assert await held[0] is True


async def test_what_was_asked_before_the_end_is_answered():
    readers = Readers(1)
    questions = [readers.ask(lambda n=n: n) for n in range(50)]

    await asyncio.to_thread(readers.close)

    assert await asyncio.gather(*questions) == list(range(50))
    with pytest.raises(RuntimeError, match="closed"):
        readers.ask(lambda: 1)


def test_a_loop_after_another_is_told_its_answers(readers):
    async def ask():
        return await readers.ask(lambda: threading.current_thread().name)

    assert {asyncio.run(ask()), asyncio.run(ask())} <= {"reader_0", "reader_1"}
