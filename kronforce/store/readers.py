"""The threads that answer the event loop's questions to the store.

The standard executor costs more than a small question: a future of its own for the thread, and a
wake-up of the loop for each answer. Here answers that came meanwhile are told in one turn of the
loop. Nothing here knows what a question is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class _Home:
    """The answers of one loop that it has not been told yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._coming = False

    def bring(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        """On a reader's thread."""
        self._answers.append((future, result, error))
        # Set back before the answers are taken out, so that none is left behind.
        if not self._coming:
            self._coming = True
            with suppress(RuntimeError):  # the loop is gone, and whoever asked
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._coming = False
        while self._answers:
            future, result, error = self._answers.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


class Readers:
    """So many threads, started when the first question comes."""

    def __init__(self, count: int) -> None:
        self._questions: SimpleQueue[
            tuple[_Home, asyncio.Future[Any], Callable[[], Any]] | None
        ] = SimpleQueue()
        self._count = count
        self._threads: list[Thread] = []
        self._starting = Lock()
        self._closed = False
        # More than one only where tests run loop after loop.
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}

    def ask(self, question: Callable[[], T]) -> asyncio.Future[T]:
        """Have a thread call it. A question whose future is cancelled before is not asked.

        Raises RuntimeError once it is closed.
        """
        if self._closed:
            raise RuntimeError("the store is closed")
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        home = self._homes.get(loop)
        if home is None:
            home = self._homes[loop] = _Home(loop)
        self._questions.put((home, future, question))
        return future

    def close(self) -> None:
        """Answer what was asked, then end the threads."""
        self._closed = True
        for _ in self._threads:
            self._questions.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self) -> None:
        with self._starting:
            if self._threads:
                return
            names = (f"reader_{number}" for number in range(self._count))
            self._threads = [Thread(target=self._run, name=each, daemon=True) for each in names]
            for thread in self._threads:
                thread.start()

    def _run(self) -> None:
        while (asked := self._questions.get()) is not None:
            home, future, question = asked
            if future.cancelled():
                continue
            try:
                result, error = question(), None
            except BaseException as raised:  # noqa: BLE001 - whoever asked is told, the thread lives
                result, error = None, raised
            home.bring(future, result, error)
            # What was answered is not kept until the next question.
            del asked, home, future, question, result, error
