"""Agents' output streams: chunks up, what is stored and what may be sent down.

Apart from the session's stream, so that a flood of output never delays a
dispatch. A stream belongs to the session that welcomed its agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from kronforce.clock import Clock
from kronforce.engine.agents.session import AgentPrincipal, Session, agent_of
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.output import OutputIntake
from kronforce.errors import KronforceError, ProtocolViolation
from kronforce.v1 import agent_service_pb2 as pb

log = logging.getLogger(__name__)


class OutputStreams:
    """Serves `StreamOutput`."""

    def __init__(self, *, clock: Clock, dispatcher: Dispatcher, output: OutputIntake) -> None:
        self._clock = clock
        self._dispatcher = dispatcher
        self._output = output

    async def stream_output(
        self, principal: AgentPrincipal, frames: AsyncIterator[pb.StreamOutputRequest]
    ) -> AsyncIterator[pb.StreamOutputResponse]:
        """Take one agent's output until its session or its stream ends."""
        agent_key = agent_of(principal)
        first = await anext(aiter(frames), None)
        session = self._dispatcher.sessions.get(agent_key)
        if first is None or session is None or first.session_id != session.session_id:
            raise ProtocolViolation("open the output stream with the session id of welcome")
        replies = _Replies()
        reader = asyncio.create_task(
            self._read_output(session, first, frames, replies), name="output-reader"
        )
        try:
            while (frame := await replies.next_frame()) is not None:
                yield frame
            if replies.error is not None:
                raise replies.error
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reader

    async def _read_output(
        self, session: Session, first: pb.StreamOutputRequest,
        frames: AsyncIterator[pb.StreamOutputRequest], replies: _Replies,
    ) -> None:  # fmt: skip
        try:
            for output in first.outputs:
                self._output.receive(session.agent_key, output, replies.put)
            async for frame in frames:
                if session.closed:
                    break
                session.last_heard = self._clock.monotonic()
                for output in frame.outputs:
                    self._output.receive(session.agent_key, output, replies.put)
        except KronforceError as error:
            replies.error = error
        except asyncio.CancelledError:
            raise
        except Exception:
            extra = {"action": "output_stream_failed", "agent": session.agent_name}
            log.exception("an output stream failed", extra=extra)
        finally:
            replies.close()


class _Replies:
    """Acknowledgements and credit for one output stream, merged until they are sent."""

    def __init__(self) -> None:
        self._by_id: dict[str, pb.OutputProgress] = {}
        self._wake = asyncio.Event()
        self._closed = False
        # Why no more is taken; the agent is told.
        self.error: KronforceError | None = None

    def put(self, progress: pb.OutputProgress) -> None:
        known = self._by_id.get(progress.execution_id)
        if known is not None:
            progress.credit_bytes += known.credit_bytes
        self._by_id[progress.execution_id] = progress
        self._wake.set()

    async def next_frame(self) -> pb.StreamOutputResponse | None:
        while not self._by_id:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        frame = pb.StreamOutputResponse(progress=self._by_id.values())
        self._by_id = {}
        return frame

    def close(self) -> None:
        self._closed = True
        self._wake.set()
