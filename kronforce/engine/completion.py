"""How executions end: reports, judged once, written in one transaction, then acknowledged.

A report counts only under the execution's current fence and only after its
output is stored to the offsets it names. What follows (another attempt, the
run's end, the next run that a limit lets in) is decided by `core` and written
with it. Whatever ends an execution, a result, a cancel, a timeout or a loss,
comes through `end`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from kronforce.clock import Clock
from kronforce.core.cancel_words import told_of_end
from kronforce.core.delivery import decide_loss
from kronforce.core.ids import IdSource
from kronforce.core.lifecycle import Reason, State, ends_as
from kronforce.core.params_rules import DEPTH_MAX, is_too_deep
from kronforce.core.retry import decide_retry
from kronforce.engine.keys import KeySource
from kronforce.engine.live import LiveExecution, LiveRun, LiveTable
from kronforce.engine.output import OutputIntake
from kronforce.engine.result_output import (
    NOTHING_STREAMED,
    STREAMS,
    StreamedOutput,
    inline_chunks,
    streamed_ends,
)
from kronforce.engine.timers import Timers
from kronforce.engine.watching import Hub
from kronforce.failpoints import failpoint
from kronforce.store.hot.commands import Finish, NextAttempt, Start
from kronforce.store.store import Store
from kronforce.store.tables import Phase
from kronforce.v1.agent_service_pb2 import ExecutionOutput, Result
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.run_pb2 import RunStatus

log = logging.getLogger(__name__)

# A finish that the store did not take is tried again after this long; the agent keeps the result.
RETRY_SECS = 0.5

SECOND = 1_000_000
# A result may be under way so long that nobody would call it late.
LATE_US = SECOND
RUNNING = 3
MAX_MESSAGE = 1_000
MAX_REASON = 100

_TOO_DEEP = f"its outputs were left out: they are nested deeper than {DEPTH_MAX}"

_on_result = failpoint("engine.completion.result")
_after_commit = failpoint("engine.completion.after_commit")

Ended = Callable[[LiveExecution, Finish], None]

# What an agent may report, by the contract's number.
_REPORTED = {
    int(state): state
    for state in (State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED, State.LOST)
}


class Completion:
    """Starts and ends of executions."""

    def __init__(
        self, *, store: Store, clock: Clock, ids: IdSource, keys: KeySource, table: LiveTable,
        hub: Hub, output: OutputIntake, timers: Timers,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._ids = ids
        self._keys = keys
        self._table = table
        self._hub = hub
        self._output = output
        self._timers = timers
        self._streamed = StreamedOutput(output, timers)
        self._rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
        # Called when an agent has accepted an execution, and after the commit of each end.
        self.started: Callable[[LiveExecution], None] = _no_start
        self.ended: Ended = _nothing
        # Called after the commit of each start of a run that may take only so long.
        self.run_started: Callable[[LiveRun], None] = _no_run
        # Called with another attempt of the same target, once it is durable.
        self.attempt_made: Callable[[LiveExecution, int | None], None] = _no_attempt
        # Called with the keys of runs that a limit has let in.
        self.admitted: Callable[[list[int]], None] = _no_admission

    def accepted(self, live: LiveExecution) -> None:
        """The agent has recorded the assignment and starts it."""
        if live.phase != Phase.ASSIGNED or live.finishing:
            return
        now = self._clock.now_us()
        live.phase, live.started_at = Phase.RUNNING, now
        self.started(live)
        live.start = Start(live, live.key, live.fence, now, self._started)
        live.start_cut = self._store.main.cuts
        self._store.stage(live.start)

    def when_start_stored(
        self, live: LiveExecution, call: Callable[[Exception | None], None]
    ) -> None:
        """Call it when the start that is being written is stored, or is not; at once if none is."""
        start = live.start
        if start is None:
            call(None)
            return
        then = start.then

        def both(command: Start, error: Exception | None) -> None:
            then(command, error)
            call(error)

        start.then = both

    def _started(self, start: Start, error: Exception | None) -> None:
        live: LiveExecution = start.live
        if live.start is start:
            live.start = None
        if start.void or live.ended:
            return
        if error is not None:
            log.warning("a start was not stored: %s", error,
                        extra={"action": "start_failed", "execution": live.id_text})  # fmt: skip
            start.refused, live.refused_start = True, start
            if live.finish is None:
                self._timers.after(RETRY_SECS, lambda: self._restart(live))
            return
        run = live.run
        run.state, run.revision = RUNNING, run.revision + 1
        run.started_at = run.started_at or start.at
        if run.job.run_timeout_us:
            self.run_started(run)
        self._hub.changed(live)

    def _restart(self, live: LiveExecution) -> None:
        if live.ended or live.finish is not None:
            return
        assert live.started_at is not None
        live.start = Start(live, live.key, live.fence, live.started_at, self._started)
        live.start_cut = self._store.main.cuts
        self._store.stage(live.start)

    def result(self, live: LiveExecution, result: Result, done: Callable[[], None]) -> None:
        """A report under the current fence; `done` is called once it is stored."""
        _on_result()
        live.dones.append(done)
        if live.finishing:
            return
        live.finishing = True
        if live.session is not None:
            live.session.drop(live)
        if live.masks is not None:
            self._output.release_held(live)
            result.message = live.masks.text(result.message)
        # Once: each walk over a message's list makes its objects anew. No other streams exist.
        sent = [chunk for chunk in result.output if chunk.stream in STREAMS]
        ends = streamed_ends(result, sent)
        chunks = inline_chunks(live, sent) if sent else sent
        if chunks:
            self._hub.output(live, chunks)
        if ends == NOTHING_STREAMED:
            # Most runs are short: their output rides in the result.
            self._finish(live, result, chunks)
        else:
            self._streamed.when_stored(live, ends, lambda: self._streamed_to(live, result, chunks))

    def _streamed_to(self, live: LiveExecution, result: Result, chunks: list[OutputChunk]) -> None:
        """All before the result's own output is stored; where the cap is reached it follows."""
        if chunks and self._output.beyond_cap(live, chunks):
            ends = self._output.append(live, chunks)
            self._streamed.when_stored(live, ends, lambda: self._finish(live, result, []))
        else:
            self._finish(live, result, chunks)

    def _finish(self, live: LiveExecution, result: Result, chunks: list[OutputChunk]) -> None:
        """Judge a result and write the end."""
        now = self._clock.now_us()
        state, reason = _judge(live, result)
        finish = Finish(live, state, reason, now)
        if live.started_at is not None and now - live.started_at > LATE_US:
            finish.finished_at = _ended_at(result, state, live.started_at, now)
        message = result.message
        if live.cancel_text and reason == live.cancel_reason:
            # Who asked for it and why, which the agent does not know.
            message = told_of_end(live.cancel_text, message)
        if live.note:
            message = f"{message}; {live.note}".lstrip("; ")
        finish.message = message[:MAX_MESSAGE]
        if result.HasField("exit_code"):
            finish.exit_code = result.exit_code
        finish.signal = result.signal
        finish.started_at = live.started_at or now
        finish.stdout_bytes, finish.stderr_bytes = result.stdout_bytes, result.stderr_bytes
        if chunks:
            inline = ExecutionOutput(execution_id=live.id_text, fence=live.fence)
            inline.chunks.extend(chunks)
            finish.inline = inline.SerializeToString()
        if result.HasField("outputs"):
            if is_too_deep(result.outputs):
                finish.message = f"{finish.message}; {_TOO_DEEP}".lstrip("; ")[:MAX_MESSAGE]
            else:
                finish.outputs = result.outputs.SerializeToString()
        self.end(finish)

    def lost(self, live: LiveExecution, reason: Reason) -> None:
        """Nobody can say how it ended."""
        live.finishing = True
        finish = Finish(live, State.LOST, reason, self._clock.now_us())
        finish.started_at = live.started_at
        self.end(finish)

    def never_started(self, live: LiveExecution, state: State, reason: str, message: str) -> None:
        """It ends without having run: cancelled, expired, refused."""
        live.finishing = True
        finish = Finish(live, state, reason, self._clock.now_us())
        finish.message = message[:MAX_MESSAGE]
        self.end(finish)

    def end(self, finish: Finish) -> None:
        """Write an end; tried again until the store takes it."""
        live: LiveExecution = finish.live
        live.finish = finish
        finish.agent_key = live.agent_key
        # PostgreSQL takes no NUL in text, whoever it comes from.
        finish.message = finish.message.replace("\0", "\ufffd")
        finish.reason = finish.reason.replace("\0", "\ufffd")[:MAX_REASON]
        if finish.reason == Reason.RUN_TIMEOUT:
            limit = live.run.job.settings.run_timeout_secs
            finish.message = f"the run took longer than run_timeout_secs ({limit:,} s)"
        self._decide_next(finish)
        start, finish.start = live.start, live.refused_start
        if start is not None and live.start_cut == self._store.main.cuts:
            # Not written yet: this writes both.
            start.void = True
            finish.tell_start = True
        elif live.phase == Phase.ASSIGNED and finish.started_at is not None:
            finish.tell_start = True
        else:
            # Accepted, and yet it never ran: its row has a start already, and sums are of rows.
            finish.start = start or finish.start
            finish.started_at = finish.started_at or live.started_at

        def committed(command: Finish, error: Exception | None) -> None:
            if error is not None:
                extra = {"action": "finish_retry", "execution": live.id_text}
                log.warning("an end was not stored, trying again: %s", error, extra=extra)
                self._timers.after(RETRY_SECS, lambda: self._store.stage(command))
                return
            _after_commit()
            self._committed(command)
            for done in live.dones:
                done()

        finish.then = committed
        self._store.stage(finish)

    def _decide_next(self, finish: Finish) -> None:
        """Whether another attempt follows, and when."""
        live: LiveExecution = finish.live
        run = live.run
        if finish.state == State.SUCCEEDED or run.cancelled_by or run.overdue or live.cancel_reason:
            return
        state, reason = State(finish.state), finish.reason
        settings = live.run.job.settings
        if state is State.LOST:
            loss = decide_loss(settings.delivery, lost_attempts=live.losses + 1,
                               reason=Reason(reason))  # fmt: skip
            finish.reason = loss.reason
            if loss.redeliver:
                self._attach(finish, delay=0.0, losses=live.losses + 1)
            return
        if finish.started_at is None:
            return
        retry = decide_retry(
            settings.retry, attempt_number=live.attempt_number, lost_attempts=live.losses,
            state=state, reason=reason, exit_code=finish.exit_code, rng=self._rng,
        )  # fmt: skip
        if retry is not None:
            self._attach(finish, delay=retry.delay_secs, losses=live.losses)

    def _attach(self, finish: Finish, *, delay: float, losses: int) -> None:
        live: LiveExecution = finish.live
        settings = live.run.job.settings
        due = finish.finished_at + int(delay * SECOND) if delay > 0 else None
        if due is not None and due <= finish.told_at:
            due = None
        deadline = None
        if settings.queue_timeout_secs:
            deadline = (due or finish.told_at) + settings.queue_timeout_secs * SECOND
        finish.next_attempt = NextAttempt(
            execution_key=self._keys(), execution_id=self._ids(),
            attempt_number=live.attempt_number + 1, losses=losses, retry_of=live.retry_root,
            due_at=due, queue_deadline_at=deadline, route=live.route,
        )  # fmt: skip

    def _committed(self, finish: Finish) -> None:
        live: LiveExecution = finish.live
        self._output.forget(live)
        if not finish.applied:
            # It had ended already: what the store holds counts, and what follows is read there.
            finish.next_attempt = None
            if finish.run_finished:
                self._tell(finish)
            self._table.remove(live)
            self.ended(live, finish)
            return
        run = live.run
        run.revision += 1
        if finish.started_at is not None:
            run.started_at = run.started_at or finish.started_at
            run.state = RUNNING
            if run.job.run_timeout_us:
                self.run_started(run)
        following = self._follow(finish)
        self._tell(finish)
        self._table.remove(live)
        if following is not None:
            assert finish.next_attempt is not None
            self.attempt_made(following, finish.next_attempt.due_at)
        self.ended(live, finish)
        if finish.admitted:
            self.admitted(finish.admitted)

    def _follow(self, finish: Finish) -> LiveExecution | None:
        """The live form of the attempt that was written with the end."""
        attempt, live = finish.next_attempt, finish.live
        if attempt is None:
            live.run.open_targets -= 1
            return None
        phase = Phase.READY if attempt.due_at is None else Phase.RETRY_WAIT
        following = LiveExecution(
            live.run, key=attempt.execution_key, id_=attempt.execution_id,
            target_index=live.target_index, attempt_number=attempt.attempt_number,
            retry_of=attempt.retry_of, losses=attempt.losses, phase=phase, route=attempt.route,
            fence=0, queue_deadline_at=attempt.queue_deadline_at,
            bound_agent_key=live.bound_agent_key,
        )  # fmt: skip
        self._table.add(following)
        if live.run.cancelled_by:
            # Cancelled while this end was being written: the attempt ends before it begins.
            following.cancel_reason = live.run.cancel_reason
            following.cancel_text = live.run.cancel_text
        elif live.run.overdue:
            following.cancel_reason = Reason.RUN_TIMEOUT
        return following

    def _tell(self, finish: Finish) -> None:
        if finish.run_finished:
            finish.live.run.state = finish.run_state
        self._hub.ended(finish.live, lambda status: _describe_end(status, finish))


def _describe_end(status: RunStatus, finish: Finish) -> None:
    """What watchers are told of an end."""
    status.execution_state = finish.state  # type: ignore[assignment]  # the number
    if finish.reason:
        status.state_reason = finish.reason
    if finish.message:
        status.message = finish.message
    if finish.exit_code is not None:
        status.exit_code = finish.exit_code
    if finish.run_finished:
        status.finished_at.FromMicroseconds(finish.run_ended_at or finish.finished_at)
        if finish.outputs is not None:
            status.outputs.ParseFromString(finish.outputs)
    elif finish.next_attempt is not None and finish.next_attempt.due_at is not None:
        status.next_attempt_at.FromMicroseconds(finish.next_attempt.due_at)


def _ended_at(result: Result, state: State, started_at: int, now: int) -> int:
    """When it ended: its start as we know it, and the time that its agent says it took.

    Clocks need not agree. Of what was lost nobody knows; a clock that went back says nothing.
    """
    if state is State.LOST or not result.HasField("started_at"):
        return now
    begin, end = result.started_at, result.finished_at
    # Not by the library's instants: it refuses years that no calendar has.
    took = (end.seconds - begin.seconds) * SECOND + (end.nanos - begin.nanos) // 1_000
    ended = started_at + took
    return ended if took >= 0 and now - ended > LATE_US else now


def _judge(live: LiveExecution, result: Result) -> tuple[State, str]:
    """What the agent reported, held against what was asked for."""
    state = _REPORTED.get(result.state)
    if state is State.SUCCEEDED:
        return state, result.state_reason
    if state is None:
        return State.FAILED, Reason.UNSUPPORTED
    if state is State.CANCELLED:
        reason = live.cancel_reason or result.state_reason or Reason.CANCELLED
        return ends_as(reason), reason
    if state is State.TIMED_OUT:
        # An agent that was cut off ends it by itself when its run has taken too long.
        overdue = Reason.RUN_TIMEOUT if live.run.overdue else ""
        return state, overdue or result.state_reason or Reason.TIMEOUT
    if state is State.LOST:
        known = {Reason.AGENT_LOST, Reason.AGENT_RESTARTED, Reason.LAUNCHER_DIED}
        return state, result.state_reason if result.state_reason in known else Reason.AGENT_LOST
    if state is State.FAILED and live.cancel_reason:
        # A task that leaves with an error after TERM was ended by the cancel.
        return ends_as(live.cancel_reason), live.cancel_reason
    return state, result.state_reason


def _nothing(_live: LiveExecution, _finish: Finish) -> None:
    return None


def _no_start(_live: LiveExecution) -> None:
    return None


def _no_run(_run: LiveRun) -> None:
    return None


def _no_attempt(_live: LiveExecution, _due_at: int | None) -> None:
    return None


def _no_admission(_run_keys: list[int]) -> None:
    return None
