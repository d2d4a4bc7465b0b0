"""The event loop behind the synchronous client: one thread for the whole process.

grpc.aio works best with one event loop per process, so every synchronous client shares this one;
it starts with the first and ends with the last. A program that also runs an event loop of its own
should use `AsyncClient` there, also beside a `Client`: see `loops.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from kronforce_client.loops import drop_empty_wakes
from kronforce_client.streams import Stream

T = TypeVar("T")


class Portal:
    """Runs coroutines on the shared loop and waits for them."""

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _shared: ClassVar[Portal | None] = None
    _users: ClassVar[int] = 0

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="kronforce-client", daemon=True
        )
        self._thread.start()

    @classmethod
    def acquire(cls) -> Portal:
        """The shared portal; give it back with `release`."""
        with cls._lock:
            if cls._shared is None:
                drop_empty_wakes()
                cls._shared = cls()
            cls._users += 1
            return cls._shared

    @classmethod
    def release(cls) -> None:
        """Give the portal back; the last one stops the loop."""
        with cls._lock:
            cls._users -= 1
            if cls._users or cls._shared is None:
                return
            portal, cls._shared = cls._shared, None
        portal.stop()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; interrupted, it is cancelled and its end is waited for."""
        outcome: Future[T] = Future()
        begun: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self._loop.create_task(work)
            task.add_done_callback(lambda ended: _pass_on(ended, outcome))
            begun.append(task)

        def end() -> None:
            begun[0].cancel()

        self._loop.call_soon_threadsafe(begin)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():
                # What it used (a stream, say) may only be touched again once it has let go.
                self._loop.call_soon_threadsafe(end)
                wait([outcome])
            raise

    def stop(self) -> None:
        """End the loop and its thread; only `release` calls this."""
        self.call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _pass_on(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.cancel()
        outcome.set_running_or_notify_cancel()
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


class Iteration(Generic[T]):
    """A stream, read synchronously. Leaving `with`, or `close()`, cancels the call behind it."""

    def __init__(self, portal: Portal, stream: Stream[T]) -> None:
        self._portal = portal
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self._portal.call(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop: the call behind it is cancelled."""
        self._portal.call(self._stream.aclose())
