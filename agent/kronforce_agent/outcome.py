"""How an execution ended, as the contract says it: pure mappings to `Result`.

The outcome of a process is its main process's: exit code 0 succeeded, also after a cancel; a
timeout that fired is `timed_out` whatever came of it.
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, replace

from google.protobuf.struct_pb2 import Struct

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent.clock import timestamp
from kronforce_agent.launcher import protocol
from kronforce_agent.secrets import Secrets

INLINE_LIMIT_BYTES = 16 * 1024
"""Output up to here may ride in a result (the contract's figure)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a result says beside times and output."""

    state: ex.ExecutionState.ValueType
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    signal: int = 0
    killed_processes: int = 0
    outputs: Struct | None = None
    """Structured results."""


def of_exit_code(code: int) -> Outcome:
    """A task that ended by itself."""
    if code == 0:
        return Outcome(state=ex.EXECUTION_STATE_SUCCEEDED, exit_code=0)
    return Outcome(
        state=ex.EXECUTION_STATE_FAILED, reason="exit_code", message=f"exit {code}", exit_code=code
    )


def of_process(exited: protocol.Exited, timeout_secs: float) -> Outcome:
    """A process that the launcher saw ending."""
    outcome = _of_process(exited, timeout_secs)
    notes = (_cut_note(exited), _killed_note(exited), _leftover_note(exited))
    message = "; ".join(filter(None, [outcome.message, *notes]))
    return replace(outcome, message=message, killed_processes=exited.killed)


def _of_process(exited: protocol.Exited, timeout_secs: float) -> Outcome:
    code, number = exited.exit_code, exited.signal or 0
    if exited.timed_out:
        return timed_out(timeout_secs, exit_code=code, signal=number)
    if code == 0:
        return of_exit_code(0)
    if exited.cancelled:
        return cancelled(exit_code=code, signal=number)
    if code is not None:
        return of_exit_code(code)
    return Outcome(
        state=ex.EXECUTION_STATE_FAILED,
        reason="signal",
        message=f"killed by {_signal_name(number)}",
        signal=number,
    )


def timed_out(timeout_secs: float, *, exit_code: int | None = None, signal: int = 0) -> Outcome:
    """It ran longer than its attempt may."""
    limit = f" of {timeout_secs:g} s" if timeout_secs else ""
    return Outcome(
        state=ex.EXECUTION_STATE_TIMED_OUT,
        message=f"ended by its timeout{limit}",
        exit_code=exit_code,
        signal=signal,
    )


def cancelled(*, exit_code: int | None = None, signal: int = 0) -> Outcome:
    """Somebody ended it."""
    return Outcome(
        state=ex.EXECUTION_STATE_CANCELLED, message="cancelled", exit_code=exit_code, signal=signal
    )


def agent_stopped(ended: Outcome) -> Outcome:
    """The same of what nobody asked to end: it ended with the agent (--stop-tasks)."""
    notes = ended.message.removeprefix("cancelled")
    return replace(ended, reason="agent_stopped", message=f"its agent was stopped{notes}")


def start_failed(message: str) -> Outcome:
    """Nothing was started; `message` says what to do."""
    return Outcome(state=ex.EXECUTION_STATE_FAILED, reason="start_failed", message=message)


def launcher_died() -> Outcome:
    """The process that held it was killed, and whatever was left of it after that."""
    return Outcome(
        state=ex.EXECUTION_STATE_LOST,
        reason="launcher_died",
        message="the launcher that held it died; what was left of it was killed",
    )


def agent_restarted() -> Outcome:
    """It ran inside the agent, which is another process now."""
    return Outcome(
        state=ex.EXECUTION_STATE_LOST,
        reason="agent_restarted",
        message="it ran inside the agent, which was restarted",
    )


def masked(outcome: Outcome, secrets: Secrets) -> Outcome:
    """The same without what must not be seen: texts of errors quote what they are about."""
    outputs = secrets.mask_struct(outcome.outputs) if outcome.outputs is not None else None
    message = secrets.mask(outcome.message) if outcome.message else ""
    return replace(outcome, message=message, outputs=outputs)


def report(
    execution_id: str,
    fence: int,
    outcome: Outcome,
    *,
    started_micros: int,
    finished_micros: int,
    stdout_bytes: int = 0,
    stderr_bytes: int = 0,
    output: list[ex.OutputChunk] | None = None,
) -> bytes:
    """The AgentMessage that reports it: the very bytes for the journal and for the stream."""
    result = pb.Result(
        state=outcome.state,
        state_reason=outcome.reason,
        message=outcome.message,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        started_at=timestamp(started_micros) if started_micros else None,
        finished_at=timestamp(finished_micros),
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
        output=output,
        outputs=outcome.outputs,
        killed_processes=outcome.killed_processes,
    )
    message = pb.AgentMessage(execution_id=execution_id, fence=fence, result=result)
    return message.SerializeToString()


def _cut_note(exited: protocol.Exited) -> str:
    return "output was still being written a second after the end and was cut" * exited.output_cut


def _killed_note(exited: protocol.Exited) -> str:
    """Only where nobody asked for an end: there it comes as a surprise."""
    if not exited.killed or exited.timed_out or exited.cancelled:
        return ""
    return f"processes that it left running were killed: {exited.killed}"


def _leftover_note(exited: protocol.Exited) -> str:
    return f"{exited.leftovers} processes could not be killed" if exited.leftovers else ""


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
