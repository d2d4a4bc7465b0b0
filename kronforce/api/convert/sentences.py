"""One line for people about a state and its reason.

What an agent or the engine said of an execution is stored and wins; these
lines are for what nobody put into words, above all for what waits: they say
what would let it go.
"""

from __future__ import annotations

from kronforce.core.exit_hints import exit_sentence, signal_name
from kronforce.core.lifecycle import Reason, State

_WAITING: dict[str, str] = {
    Reason.QUEUE: "waits: others go first",
    Reason.SLOT: "waits for a free slot on the agents that fit",
    Reason.LABELS: "waits: no enrolled agent fits; enrol one, or change the target",
    Reason.OFFLINE: "waits: the agents that fit are offline or draining",
    Reason.ASSIGNED: "sent to its agent, not yet accepted",
    Reason.CONCURRENCY: "waits for earlier runs of this job (max_concurrent)",
    Reason.RETRY_WAIT: "waits for its next attempt",
}
_RUNNING: dict[str, str] = {
    Reason.AGENT_UNREACHABLE: "its agent cannot be reached",
    Reason.CANCELLING: "is being cancelled",
    Reason.STORING_OUTPUT: "has ended; its last output is being stored",
}
_ENDED: dict[str, str] = {
    Reason.START_FAILED: "could not be started",
    Reason.UNSUPPORTED: "its agent does not know this kind of task",
    Reason.UNRESOLVED_VARIABLE: "names a variable that has no value (strict_variables)",
    Reason.TIMEOUT: "ran longer than timeout_secs",
    Reason.RUN_TIMEOUT: "the run took longer than run_timeout_secs",
    Reason.REPLACED: "replaced by a newer run",
    Reason.AGENT_STOPPED: "its agent was stopped, and ended what it ran",
    Reason.OVERLAP: "skipped: an earlier run was still open (concurrency_policy forbid)",
    Reason.QUEUE_FULL: "skipped: as many runs were waiting as queue_limit allows",
    Reason.NO_AGENT: "left out: the agent could not be given work",
    Reason.QUEUE_TIMEOUT: "waited longer than queue_timeout_secs",
    Reason.OFFLINE_TIMEOUT: "waited longer than offline_timeout_secs for an agent",
    Reason.AGENT_LOST: "its agent was gone longer than lost_after_secs; it may have run",
    Reason.AGENT_RESTARTED: "its agent came back without it; it may have run",
    Reason.LAUNCHER_DIED: "the launcher that held it died; it may have run",
    Reason.QUARANTINED: "three attempts in a row were lost; not tried again",
}
_BY_STATE: dict[int, dict[str, str]] = {State.PENDING: _WAITING, State.RUNNING: _RUNNING}


def sentence(
    state: int, reason: str, *, exit_code: int | None = None, signal_number: int = 0
) -> str:
    """The line for an execution or a run; empty where the state says it all."""
    if signal_number:
        return f"killed by {signal_name(signal_number)}"
    if exit_code:
        return exit_sentence(exit_code)
    return _BY_STATE.get(state, _ENDED).get(reason, "")
