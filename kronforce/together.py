"""Questions that come at the same time are asked together.

The first goes alone and at once; what comes while it is being answered goes with the next. So one
that is alone waits for nothing, and of thousands (agents after a restart) hundreds share one turn
of a thread and one transaction. It knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(Generic[Q, A]):
    """A question, and the turn of whoever asks it: with its answer, or to ask for all that wait."""

    __slots__ = ("answers", "error", "leads", "question", "turn", "waits")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answers: list[A] = []
        self.error: Exception | None = None
        self.waits, self.leads = True, False
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_over(self, answer: Sequence[A], error: Exception | None = None) -> None:
        """Answered, or refused; whoever waits hears of it unless he left."""
        self.answers, self.error = list(answer), error
        if not self.turn.done():
            self.turn.set_result(None)


class Together(Generic[Q, A]):
    """`ask` gets up to `limit` questions and gives their answers in order; call it with one.

    An error of `ask` is everybody's whose question was in it.
    """

    def __init__(self, ask: Callable[[list[Q]], Awaitable[Sequence[A]]], *, limit: int) -> None:
        self._ask = ask
        self._limit = limit
        self._waiting: deque[_Asked[Q, A]] = deque()
        self._busy = False

    async def __call__(self, question: Q) -> A:
        """The answer to one question."""
        mine = _Asked[Q, A](question)
        self._waiting.append(mine)
        if not self._busy:
            self._next()
        try:
            await mine.turn
            if mine.leads:
                await self._answer_all()
        finally:
            if mine.waits:
                self._waiting.remove(mine)
            if mine.leads:
                self._next()
        if mine.error is not None:
            raise mine.error
        return mine.answers[0]

    def _next(self) -> None:
        """The first that waits, and has not left, asks for all."""
        while self._waiting and self._waiting[0].turn.done():
            self._waiting.popleft().waits = False
        self._busy = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].turn.set_result(None)

    async def _answer_all(self) -> None:
        """Of the first that wait; those that come meanwhile are the next leader's."""
        together = list(islice(self._waiting, self._limit))
        for _ in together:
            self._waiting.popleft().waits = False
        try:
            answers = await self._ask([asked.question for asked in together])
        except Exception as error:  # noqa: BLE001 - each of them raises it
            for asked in together:
                asked.is_over((), error)
        except BaseException:
            # Whoever asked for all has left; the others' questions are as they were.
            for asked in reversed(together[1:]):
                asked.waits = True
                self._waiting.appendleft(asked)
            raise
        else:
            for asked, answer in zip(together, answers, strict=True):
                asked.is_over((answer,))
