"""Runs an in-agent task: its time limit, its output with backpressure, its outcome.

An in-agent task does not outlive the agent, and neither does its output; so it has ended only
when everything that it streamed is stored at the controller.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

from kronforce.v1 import execution_pb2 as ex
from kronforce.v1 import job_pb2
from kronforce_agent import outcome
from kronforce_agent.clock import Clock
from kronforce_agent.outcome import INLINE_LIMIT_BYTES, Outcome
from kronforce_agent.output import Chunk, OutputBuffer, OutputRouter
from kronforce_agent.records import Key
from kronforce_agent.secrets import Secrets
from kronforce_agent.tasks.kinds import CannotStart, Context, InAgentTask
from kronforce_redaction import Masker

log = logging.getLogger(__name__)


class InAgentRun:
    """One run; `start` it in the supervisor's task group."""

    def __init__(
        self, key: Key, router: OutputRouter, clock: Clock, secrets: Secrets | None = None
    ) -> None:
        self._key = key
        self._secrets = secrets
        self._maskers: dict[ex.OutputStream.ValueType, Masker] = {}
        self._router = router
        self._clock = clock
        self._room = asyncio.Event()
        self._stored = asyncio.Event()
        self._sequence = 0
        self._cancelled = False
        # When its work was done; its output may be stored long after that.
        self.ended_micros = 0
        self._task: asyncio.Task[Outcome] | None = None
        self.buffer: OutputBuffer = router.open(key, self._granted, self._was_stored)
        # Enough for a short message without a session: it rides in the result later.
        self.buffer.source_credit = max(router.initial_credit, INLINE_LIMIT_BYTES)

    def cancel(self) -> None:
        """End it at its next await; it is `cancelled` unless it has ended."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def run(
        self,
        runner: InAgentTask,
        task: job_pb2.Task,
        timeout_secs: float,
        finished: Callable[[Outcome, list[Chunk] | None], None],
    ) -> None:
        """Run it to its end and to the end of its output, then call `finished` once."""
        result = await self._outcome(runner, task, timeout_secs)
        self.ended_micros = self._clock.micros()
        for stream, masker in self._maskers.items():
            await self._pass_on(stream, masker.flush())
        chunks = self._router.take_inline(self.buffer, self._sequence)
        if chunks is None:
            await self._until_stored()
        finished(result, chunks)

    async def write(self, stream: ex.OutputStream.ValueType, data: bytes) -> None:
        """Pass a block on, masked; waits while there is no credit. It may overdraw it once."""
        if self._secrets is not None:
            masker = self._maskers.get(stream)
            if masker is None:
                masker = self._maskers[stream] = Masker(self._secrets.masks)
            data = masker.feed(data)
        await self._pass_on(stream, data)

    async def _pass_on(self, stream: ex.OutputStream.ValueType, data: bytes) -> None:
        if not data:
            return
        buffer = self.buffer
        while buffer.source_credit <= 0:
            self._room.clear()
            self._router.top_up(buffer)
            await self._room.wait()
        self._sequence += 1
        self._router.receive(
            buffer,
            Chunk(
                stream=stream,
                offset=buffer.ends[stream],
                sequence=self._sequence,
                at_micros=self._clock.micros(),
                parts=[data],
                size=len(data),
            ),
        )

    async def _outcome(
        self, runner: InAgentTask, task: job_pb2.Task, timeout_secs: float
    ) -> Outcome:
        if self._cancelled:
            return outcome.cancelled()
        context = Context(
            output=self,
            clock=self._clock,
            execution_id=self._key[0],
            fence=self._key[1],
            timeout_secs=timeout_secs,
        )
        work = runner.run(task, context)
        task_run = self._task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task_run}, timeout=timeout_secs or None)
        finally:
            task_run.cancel()
        if not done:
            await asyncio.wait({task_run})
            return outcome.timed_out(timeout_secs)
        if task_run.cancelled():
            return outcome.cancelled()
        return self._ended(task_run)

    def _ended(self, task: asyncio.Task[Outcome]) -> Outcome:
        error = task.exception()
        if error is None:
            return task.result()
        if isinstance(error, CannotStart):
            return outcome.start_failed(str(error))
        trace = "".join(traceback.format_exception(error))
        shown = trace if self._secrets is None else self._secrets.mask(trace)
        log.error("task %s broke: %s", self.buffer.key[0], shown)
        return Outcome(
            state=ex.EXECUTION_STATE_FAILED, reason="task_error", message=f"task broke: {error!r}"
        )

    async def _until_stored(self) -> None:
        while self.buffer.unsent or self.buffer.unacked:
            self._stored.clear()
            await self._stored.wait()

    def _granted(self, _amount: int) -> None:
        self._room.set()

    def _was_stored(self, _sequence: int) -> None:
        self._stored.set()
