"""The typed commands of the hot path: what a batch is made of.

The engine makes them on the event loop with everything that memory knows;
`apply.py` writes them on the committer's thread and fills in what only the
transaction can tell (fences, duplicates, admission). After the commit
`committed` runs on the loop, where `then` is the engine's follow-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from kronforce.errors import KronforceError
from kronforce.store.database import Tx


class Call:
    """Any function over the batch's transaction, in a savepoint; its result is awaited."""

    __slots__ = ("args", "fn", "future", "kw", "result")

    def __init__(self, fn: Callable[..., Any], args: Any, kw: Any, future: asyncio.Future[Any]):
        self.fn, self.args, self.kw, self.future = fn, args, kw, future
        self.result: tuple[Any, Exception | None] = (None, None)

    def run(self, tx: Tx) -> None:
        """Run it; its own error undoes its own writes only."""
        try:
            with tx.undone_by(KronforceError):
                self.result = (self.fn(tx, *self.args, **self.kw), None)
        except KronforceError as error:
            self.result = (None, error)

    def committed(self, error: Exception | None) -> None:
        if self.future.done():
            return
        error = error or self.result[1]
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(self.result[0])


class Created(Enum):
    """What became of a `CreateRun`."""

    CREATED = auto()
    # Created, and waits for the job's limit.
    WAITING = auto()
    # Created as `skipped`, because somebody asked for it: `skip_reason` says why.
    SKIPPED = auto()
    # No run: the fire was skipped (a ledger row says why), or somebody else fired the instant.
    NO_RUN = auto()
    # The request id was used: `resource_id` is the run it made.
    REPLAYED = auto()
    # The request id was used for something else.
    REUSED = auto()
    # The definition has changed or gone: read it again.
    STALE = auto()


class Limit:
    """A job's concurrency rule as admission needs it; `key` tells its slots apart."""

    __slots__ = ("key", "max_concurrent", "policy", "queue_limit")

    def __init__(self, key: str, max_concurrent: int, policy: int, queue_limit: int):
        self.key = key
        self.max_concurrent = max_concurrent
        self.policy = policy
        self.queue_limit = queue_limit


class NewTarget:
    """One target of a new run, with its first execution."""

    __slots__ = (
        "agent_key", "execution_id", "execution_key", "fence", "index", "live", "route",
        "session", "skip_reason",
    )  # fmt: skip

    def __init__(self, index: int, key: int, id_: bytes, route: int, agent_key: int | None):
        self.index = index
        self.execution_key = key
        self.execution_id = id_
        self.route = route
        self.agent_key = agent_key
        # Why it is left out; empty: it is not.
        self.skip_reason = ""
        # The agent session for which a slot was reserved as the batch was cut, or None.
        self.session: Any = None
        self.fence = 0
        # The engine's own object, once the run is created.
        self.live: Any = None


class Advance:
    """A job's timing moves on; `expected` is the stored `next_fire_at` that was acted on."""

    __slots__ = (
        "applied", "ends", "expected", "job_key", "next_fire_at", "next_nominal_at", "status",
    )  # fmt: skip

    def __init__(self, job_key: int, expected: int, next_fire_at: int | None,
                 next_nominal_at: int | None, status: int, *, ends: bool):  # fmt: skip
        self.job_key = job_key
        self.expected = expected
        self.next_fire_at = next_fire_at
        self.next_nominal_at = next_nominal_at
        self.status = status
        # Whether the job has just fired for the last time, which an event tells.
        self.ends = ends
        # Set by the transaction: whether the stored timing is certainly this now.
        self.applied = False


class CreateRun:
    """A run with its targets and first executions."""

    __slots__ = (
        "actor", "advance", "caught_up", "cause_event", "client_id", "created_at", "depth",
        "fire_at", "id", "job", "key", "limit", "outcome", "params", "principal", "principal_key",
        "priority", "queue_deadline_at", "request_hash", "request_id", "rerun_of", "resource_id",
        "skip_reason", "targets", "then", "trigger",
    )  # fmt: skip

    def __init__(self) -> None:
        self.key: int = 0
        self.id: bytes = b""
        # The engine's snapshot of the job: key, id, name, group, version, revision.
        self.job: Any = None
        self.trigger: int = 0
        self.principal_key: int = 0
        self.principal: str = ""
        # Whose trigger the audit log records (`audit.Actor`); None: the controller's own.
        self.actor: Any = None
        self.client_id: str = ""
        self.params: bytes | None = None
        self.priority: int = 0
        self.created_at: int = 0
        self.queue_deadline_at: int | None = None
        self.request_id: str = ""
        self.request_hash: bytes = b""
        self.limit: Limit | None = None
        # The nominal instant, when a schedule fired it.
        self.fire_at: int | None = None
        self.caught_up: bool = False
        # What the schedule does next, written with the fire; None: something else writes it.
        self.advance: Advance | None = None
        self.depth: int = 0
        self.cause_event: str = ""
        # The run that it runs again.
        self.rerun_of: bytes | None = None
        self.targets: list[NewTarget] = []
        # Filled in by the transaction.
        self.outcome: Created = Created.CREATED
        self.skip_reason: str = ""
        self.resource_id: bytes = b""
        self.then: Callable[[CreateRun, Exception | None], None] = _ignore

    def committed(self, error: Exception | None) -> None:
        self.then(self, error)


class Assign:
    """A ready execution goes to an agent's session."""

    __slots__ = ("agent_key", "assigned_at", "done", "epoch", "execution_key", "fence", "live",
                 "then")  # fmt: skip

    def __init__(self, live: Any, execution_key: int, agent_key: int, epoch: int, at: int,
                 then: Callable[[Assign, Exception | None], None]):  # fmt: skip
        self.live = live
        self.execution_key = execution_key
        self.agent_key = agent_key
        self.epoch = epoch
        self.assigned_at = at
        self.fence = 0
        # True once it is written: the session is still the same, the execution has not ended.
        self.done = False
        self.then = then

    def committed(self, error: Exception | None) -> None:
        self.then(self, error)


class Start:
    """An agent has accepted an execution."""

    __slots__ = ("at", "execution_key", "fence", "live", "refused", "then", "void")

    def __init__(self, live: Any, execution_key: int, fence: int, at: int,
                 then: Callable[[Start, Exception | None], None]):  # fmt: skip
        self.live = live
        self.execution_key = execution_key
        self.fence = fence
        self.at = at
        # Set when the finish overtook it in the same batch: that writes both.
        self.void = False
        # The store did not take it, or nobody knows: the finish looks whether it is there.
        self.refused = False
        self.then = then

    def committed(self, error: Exception | None) -> None:
        self.then(self, error)


class NextAttempt:
    """The execution that follows one that ended: a retry, or a redelivery after a loss."""

    __slots__ = ("attempt_number", "due_at", "execution_id", "execution_key", "losses", "retry_of",
                 "queue_deadline_at", "route")  # fmt: skip

    def __init__(
        self,
        *,
        execution_key: int,
        execution_id: bytes,
        attempt_number: int,
        losses: int,
        retry_of: bytes,
        due_at: int | None,
        queue_deadline_at: int | None,
        route: int,
    ):
        self.execution_key = execution_key
        self.execution_id = execution_id
        self.attempt_number = attempt_number
        self.losses = losses
        self.retry_of = retry_of
        # None: at once.
        self.due_at = due_at
        self.queue_deadline_at = queue_deadline_at
        self.route = route


class Finish:
    """An execution ends; with it, unless another attempt follows, its target, and maybe its run."""

    __slots__ = (
        "applied", "admitted", "agent_key", "closes_run", "dispatch", "exit_code", "finished_at",
        "inline", "live", "message", "next_attempt", "outputs", "reason", "run_finished",
        "run_state", "run_ended_at", "severity", "signal", "start", "started_at", "state",
        "stderr_bytes", "stdout_bytes", "then", "tell_start", "told_at",
    )  # fmt: skip

    def __init__(self, live: Any, state: int, reason: str, finished_at: int) -> None:
        self.live = live
        self.state = state
        self.reason = reason
        self.message = ""
        self.exit_code: int | None = None
        self.signal = 0
        self.started_at: int | None = None
        # When it ended, and when we heard of it: an agent that was cut off tells late.
        self.finished_at = self.told_at = finished_at
        self.stdout_bytes = 0
        self.stderr_bytes = 0
        self.inline: bytes | None = None
        self.outputs: bytes | None = None
        self.dispatch: bytes | None = None
        self.agent_key: int | None = None
        # Whether this also tells of the start, because no Start was written before.
        self.tell_start = False
        # The Start that was staged before it, whose fate may not be known yet.
        self.start: Start | None = None
        self.next_attempt: NextAttempt | None = None
        # Filled in by the transaction: whether the compare-and-set found it open, what the run
        # became, and the runs that its slot let in.
        self.applied = False
        self.run_state = 0
        self.run_finished = False
        # Of those of one run in a batch that ended it, one: who counts runs counts that.
        self.closes_run = False
        # Where it is not this execution's: another target's end was the last.
        self.run_ended_at: int | None = None
        self.admitted: list[int] = []
        self.then: Callable[[Finish, Exception | None], None] = _ignore

    def committed(self, error: Exception | None) -> None:
        self.then(self, error)


def _ignore(_command: Any, _error: Exception | None) -> None:
    return None
