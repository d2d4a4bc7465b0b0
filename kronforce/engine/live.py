"""What memory knows of open runs and executions.

The database is the truth; these objects are what the controller needs at hand
for work that is near its turn or under way: the heads of the queue, what is
assigned, what runs. Everything here can be loaded again from the store. They
belong to the event loop; the committer's thread only reads what does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kronforce.core.ids import to_text

if TYPE_CHECKING:
    from kronforce.engine.agents.session import Session
    from kronforce.engine.snapshots import JobSnapshot
    from kronforce.store.hot.commands import Finish, Start


class LiveRun:
    """A run that has not ended."""

    __slots__ = (
        "admission", "cancel_reason", "cancel_text", "cancelled_by", "client_id", "created_at",
        "ends_at", "executions", "group",
        "id", "id_text", "job", "key", "nominal_at", "open_targets", "params", "principal",
        "principal_key",
        "overdue", "priority", "revision", "slot_key", "started_at", "state", "target_count",
        "trigger",
    )  # fmt: skip

    def __init__(self, *, key: int, id_: bytes, job: JobSnapshot, group: str, trigger: int,
                 principal_key: int, principal: str, client_id: str, priority: int, created_at: int,
                 nominal_at: int | None, params: bytes | None, target_count: int,
                 open_targets: int, admission: int, slot_key: str, state: int, revision: int,
                 started_at: int | None, cancelled_by: str):  # fmt: skip
        self.key = key
        self.id = id_
        self.id_text = to_text(id_)
        self.job = job
        # The job's when it was triggered; it follows a rename, not a move of the job.
        self.group = group
        self.trigger = trigger
        self.principal_key = principal_key
        self.principal = principal
        self.client_id = client_id
        self.priority = priority
        self.created_at = created_at
        self.nominal_at = nominal_at
        self.params = params
        self.target_count = target_count
        self.open_targets = open_targets
        self.admission = admission
        self.slot_key = slot_key
        self.state = state
        self.revision = revision
        self.started_at = started_at
        # Who asked for its cancellation; empty: nobody. No attempt follows once it is set.
        self.cancelled_by = cancelled_by
        # What that is, as a reason word, and the line that says who and why.
        self.cancel_reason = ""
        self.cancel_text = ""
        # It is open longer than its job's `run_timeout_secs`; no attempt follows either.
        self.overdue = False
        # Its deadline on the monotonic clock; None: it has none, or has not started.
        self.ends_at: float | None = None
        self.executions: dict[int, LiveExecution] = {}


class LiveExecution:
    """An execution that has not ended."""

    __slots__ = (
        "agent_id", "agent_key", "agent_name", "assigned_at", "attempt_number", "bound_agent_key",
        "cancel_reason", "cancel_text", "dones", "ended", "fence", "finish", "finishing", "id",
        "id_text", "key", "losses", "masks", "note", "output", "phase",
        "queue_deadline_at", "queued", "refused_start", "retry_of", "revoked", "route", "run",
        "session", "start", "start_cut", "started_at", "target_index",
    )  # fmt: skip

    def __init__(self, run: LiveRun, *, key: int, id_: bytes, target_index: int,
                 attempt_number: int, retry_of: bytes | None, losses: int, phase: int, route: int,
                 fence: int, queue_deadline_at: int | None,
                 bound_agent_key: int | None = None):  # fmt: skip
        self.run = run
        self.key = key
        self.id = id_
        self.id_text = to_text(id_)
        self.target_index = target_index
        self.attempt_number = attempt_number
        self.retry_of = retry_of
        self.losses = losses
        self.phase = phase
        self.route = route
        self.fence = fence
        self.queue_deadline_at = queue_deadline_at
        # The agent that its target names; None: any that can serve the route.
        self.bound_agent_key = bound_agent_key
        # The session that has it; None while its agent is away.
        self.session: Session | None = None
        self.agent_key: int | None = None
        self.agent_id: bytes | None = None
        self.agent_name = ""
        # On the monotonic clock; None: not since this controller started.
        self.assigned_at: float | None = None
        self.started_at: int | None = None
        # A cancel that was asked for, by its reason word; empty: none.
        self.cancel_reason = ""
        # The line that says who wants that, and why.
        self.cancel_text = ""
        # The start that is staged, and the cut before which it was.
        self.start: Start | None = None
        self.start_cut = -1
        # One that the store did not take, until it has ended.
        self.refused_start: Start | None = None
        # It is in its route's heap.
        self.queued = False
        # The agent was asked to give it back, since it did not answer.
        self.revoked = False
        # The end that is being written, once there is one.
        self.finish: Finish | None = None
        # A finish is staged: further reports are repeats.
        self.finishing = False
        # Called when its end is stored: who reported it is told then, however often it reported.
        self.dones: list[Callable[[], None]] = []
        self.ended = False
        # What there is to say of its task, for whoever reads how it ended.
        self.note = ""
        # Masks its output, where its agent does not: engine/masking.Masks.
        self.masks: Any = None
        # Its streamed output, once there is any: engine/output.OutputState.
        self.output: Any = None
        run.executions[key] = self

    @property
    def retry_root(self) -> bytes:
        """The first attempt's id, which every later one names."""
        return self.retry_of or self.id


class LiveTable:
    """Every live execution, by id and by key, and every live run."""

    def __init__(self) -> None:
        self.by_id: dict[str, LiveExecution] = {}
        self.by_key: dict[int, LiveExecution] = {}
        self.runs: dict[int, LiveRun] = {}
        # Groups whose stored runs may still have the name before a rename: old name to new.
        self.renamed: dict[str, str] = {}
        self._reads: list[set[int]] = []

    def add(self, live: LiveExecution) -> None:
        self.by_id[live.id_text] = live
        self.by_key[live.key] = live
        self.runs[live.run.key] = live.run

    def older_runs(
        self, job_key: int, slot_key: str, run_key: int, *, but: Collection[int]
    ) -> list[int]:
        """Runs of a job's key that are older than a run, without some."""
        return [
            run.key
            for run in self.runs.values()
            if run.job.key == job_key and run.slot_key == slot_key
            and run.key < run_key and run.key not in but
        ]  # fmt: skip

    def rename_group(self, old_name: str, new_name: str) -> None:
        """Runs of the group have its new name from now on, also those that are read later."""
        self.renamed[old_name] = new_name
        for run in self.runs.values():
            if run.group == old_name:
                run.group = new_name

    def remove(self, live: LiveExecution) -> None:
        """Forget it, and its run when nothing of it is left in memory."""
        live.ended = True
        for gone in self._reads:
            gone.add(live.key)
        self.by_id.pop(live.id_text, None)
        self.by_key.pop(live.key, None)
        run = live.run
        run.executions.pop(live.key, None)
        if not run.executions:
            self.runs.pop(run.key, None)

    @contextmanager
    def reading(self) -> Iterator[set[int]]:
        """Around a read of open rows: the keys of what was removed meanwhile.

        Such a row may be older than its end, and would come to life again.
        """
        gone: set[int] = set()
        self._reads.append(gone)
        try:
            yield gone
        finally:
            self._reads = [other for other in self._reads if other is not gone]
