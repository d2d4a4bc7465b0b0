"""The output of an execution that has reported its end.

What rides in the result, and what was streamed before it and has to be stored first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kronforce.core.inline_output import within_limit
from kronforce.engine.live import LiveExecution
from kronforce.engine.output import OutputIntake
from kronforce.engine.timers import Timers
from kronforce.v1.agent_service_pb2 import Result
from kronforce.v1.execution_pb2 import OutputChunk

# Without any progress for this long, while the session lives, missing output becomes a gap.
OUTPUT_PATIENCE_SECS = 30.0
# Output that may ride in a result.
MAX_INLINE = 16 << 10

STREAMS = (1, 2)
NOTHING_STREAMED = (0, 0)


def streamed_ends(result: Result, output: Sequence[OutputChunk]) -> tuple[int, int]:
    """The offsets to which the output stream must have come: the final ones less what is inline."""
    ends = {1: result.stdout_bytes, 2: result.stderr_bytes}
    for chunk in output:
        ends[chunk.stream] = min(ends[chunk.stream], chunk.offset)
    return ends[1], ends[2]


def inline_chunks(live: LiveExecution, output: Sequence[OutputChunk]) -> list[OutputChunk]:
    """Output in the result that the stream did not bring already."""
    known = live.output.offsets if live.output is not None else None
    chunks = []
    for sent in output:
        chunk = sent
        begun = 0 if known is None else known[chunk.stream] - chunk.offset
        if begun >= max(1, len(chunk.data)):
            continue
        if begun > 0:
            chunk = OutputChunk(stream=chunk.stream, offset=chunk.offset + begun,
                                data=chunk.data[begun:], sequence=chunk.sequence,
                                at=chunk.at)  # fmt: skip
        chunks.append(chunk)
    if live.masks is not None:
        chunks = [*live.masks.take(chunks), *live.masks.flush()]
    return within_limit(chunks, min(MAX_INLINE, live.run.job.settings.output_cap_bytes))


class StreamedOutput:
    """Waits for the output that a result names, as long as there is hope for it."""

    def __init__(self, output: OutputIntake, timers: Timers) -> None:
        self._output = output
        self._timers = timers

    def when_stored(
        self, live: LiveExecution, ends: tuple[int, int], then: Callable[[], None]
    ) -> None:
        """Call `then` once streamed output is stored to these offsets, or given up."""
        if live.output is None or not live.output.is_stored_to(*ends):
            self._await_output(live, ends, then)
        else:
            then()

    def _await_output(
        self, live: LiveExecution, ends: tuple[int, int], then: Callable[[], None]
    ) -> None:
        state = self._output.state_of(live)

        def check() -> None:
            if not state.is_stored_to(*ends):
                state.waiting.append(check)
                return
            then()

        def give_up(seen: int, away: float) -> None:
            if live.ended or state.is_stored_to(*ends):
                return
            gone = live.session is None or live.session.closed
            away = away + OUTPUT_PATIENCE_SECS if gone else 0.0
            # An agent that stays away is not waited for longer than its work would be.
            patient = gone and away <= live.run.job.settings.lost_after_secs
            if state.sequence > seen or patient:
                now_seen = state.sequence
                self._timers.patiently(OUTPUT_PATIENCE_SECS, lambda: give_up(now_seen, away))
                return
            self._output.close_gap(live, *ends)

        seen = state.sequence
        state.waiting.append(check)
        self._timers.patiently(OUTPUT_PATIENCE_SECS, lambda: give_up(seen, 0.0))
