"""The states of executions and runs, and the only moves between them.

    pending_approval ──▶ pending ──▶ running ──▶ succeeded | failed | timed_out
           │                │           └──────▶ cancelled | lost
           │                └─▶ skipped | expired | cancelled | …
           └─▶ rejected | expired | cancelled

Moves go forward only and a terminal state never changes; whoever writes a
state compares and sets. Numbers are those of `ExecutionState` in the contract.
A run uses the same words: it is what its targets' last attempts make of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class State(IntEnum):
    """The state of an execution, or of a run."""

    PENDING = 1
    PENDING_APPROVAL = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    TIMED_OUT = 6
    CANCELLED = 7
    SKIPPED = 8
    EXPIRED = 9
    REJECTED = 10
    LOST = 11

    @property
    def word(self) -> str:
        """The word that people and JSON use, for example `timed_out`."""
        return self.name.lower()


class Reason(StrEnum):
    """Why a state is what it is; `state_reason` in the contract."""

    NONE = ""
    # Of pending: stored (DERIVED ones are only ever computed when read).
    ASSIGNED = "assigned"
    CONCURRENCY = "concurrency"
    DEPENDENCY = "dependency"
    WINDOW = "window"
    RETRY_WAIT = "retry_wait"
    QUEUE = "queue"
    SLOT = "slot"
    LABELS = "labels"
    OFFLINE = "offline"
    # Of running.
    AGENT_UNREACHABLE = "agent_unreachable"
    CANCELLING = "cancelling"
    WAITING_INPUT = "waiting_input"
    STORING_OUTPUT = "storing_output"
    # Of terminal states.
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    START_FAILED = "start_failed"
    UNSUPPORTED = "unsupported"
    UNRESOLVED_VARIABLE = "unresolved_variable"
    TIMEOUT = "timeout"
    RUN_TIMEOUT = "run_timeout"
    ASSERTION = "assertion"
    OUTPUT_SCHEMA = "output_schema"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    AGENT_STOPPED = "agent_stopped"
    OVERLAP = "overlap"
    QUEUE_FULL = "queue_full"
    DEPENDENCY_FAILED = "dependency_failed"
    QUEUE_TIMEOUT = "queue_timeout"
    OFFLINE_TIMEOUT = "offline_timeout"
    APPROVAL_TIMEOUT = "approval_timeout"
    AGENT_LOST = "agent_lost"
    AGENT_RESTARTED = "agent_restarted"
    LAUNCHER_DIED = "launcher_died"
    QUARANTINED = "quarantined"
    NO_AGENT = "no_agent"


# Computed when read and never written: one agent's blink must not rewrite a million rows.
DERIVED = frozenset(
    {Reason.QUEUE, Reason.SLOT, Reason.LABELS, Reason.OFFLINE, Reason.AGENT_UNREACHABLE}
)

OPEN = frozenset({State.PENDING, State.PENDING_APPROVAL, State.RUNNING})
TERMINAL = frozenset(State) - OPEN

# The worst target's outcome is the run's.
WORST_FIRST = (
    State.FAILED,
    State.LOST,
    State.TIMED_OUT,
    State.CANCELLED,
    State.REJECTED,
    State.EXPIRED,
    State.SUCCEEDED,
    State.SKIPPED,
)
_BADNESS = {state: len(WORST_FIRST) - place for place, state in enumerate(WORST_FIRST)}

# A short attempt's start and end arrive in one report, so pending may end in any outcome.
# Only a decision on an approval rejects, and what runs is past being skipped or expired.
_MOVES: dict[State, frozenset[State]] = {
    State.PENDING_APPROVAL: frozenset(
        {State.PENDING, State.CANCELLED, State.SKIPPED, State.EXPIRED, State.REJECTED}
    ),
    State.PENDING: (TERMINAL - {State.REJECTED}) | {State.RUNNING},
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED, State.LOST}
    ),
}
_NOWHERE: frozenset[State] = frozenset()


def ends_as(reason: str) -> State:
    """The state of what is ended for this reason: by a person or a newer run, or by the clock."""
    return State.TIMED_OUT if reason == Reason.RUN_TIMEOUT else State.CANCELLED


def is_terminal(state: State) -> bool:
    return state in TERMINAL


def can_move(before: State, after: State) -> bool:
    """Whether an execution may go from one state to the other."""
    return after in _MOVES.get(before, _NOWHERE)


def can_move_run(before: State, after: State) -> bool:
    """Whether a run may; its targets differ, so what runs may still end `expired`."""
    if before in TERMINAL:
        return False
    return after in TERMINAL or (before != after and after in _MOVES[before])


def sources_of(after: State) -> tuple[State, ...]:
    """The states from which an execution may come here: the set that the SQL compares with."""
    return tuple(state for state in State if can_move(state, after))


def worst(outcomes: Iterable[State]) -> State:
    """The outcome that counts among terminal states; raises ValueError if there is none."""
    return max(outcomes, key=_BADNESS.__getitem__)


def run_state(
    outcomes: Iterable[State],
    *,
    open_count: int,
    started: bool,
    awaiting_approval: bool = False,
) -> State:
    """What a run is, given the last attempt of each target.

    `outcomes` are the terminal ones among them, `open_count` the others (also
    those that wait for a retry); `started` says that any attempt ever ran.
    """
    if open_count == 0:
        return worst(outcomes)
    if started:
        return State.RUNNING
    return State.PENDING_APPROVAL if awaiting_approval else State.PENDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How an attempt ended, as agent, output rules and controller know it.

    `exit_code` is unset when a signal ended the main process or it never
    started; `timed_out` and `start_failed` are the agent's words, `cancel_reason`
    is the controller's record of a cancel that was asked for.
    """

    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    start_failed: bool = False
    assertion_failed: bool = False
    schema_failed: bool = False
    cancel_reason: Reason | None = None


def decide_outcome(report: Report) -> tuple[State, Reason]:
    """The state and reason in which the attempt ends.

    A timeout is one even if the process then left with 0; a success that came
    after the cancel stays a success; any other end after a cancel is the cancel's.
    """
    if report.timed_out:
        return State.TIMED_OUT, Reason.TIMEOUT
    if report.exit_code == 0 and not report.start_failed:
        return _judge_success(report)
    if report.cancel_reason is not None:
        return State.CANCELLED, report.cancel_reason
    if report.start_failed:
        return State.FAILED, Reason.START_FAILED
    if report.signal is not None:
        return State.FAILED, Reason.SIGNAL
    return State.FAILED, Reason.EXIT_CODE


def _judge_success(report: Report) -> tuple[State, Reason]:
    if report.assertion_failed:
        return State.FAILED, Reason.ASSERTION
    if report.schema_failed:
        return State.FAILED, Reason.OUTPUT_SCHEMA
    return State.SUCCEEDED, Reason.NONE
