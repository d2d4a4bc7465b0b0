"""Jobs as the engine uses them: parsed once per version, kept while they are in use.

A snapshot may be stale; the transaction that makes a run checks its revision
and has it read again. Bounded: what was used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from google.protobuf.struct_pb2 import Struct

from kronforce.core.access import Scope, system_scope
from kronforce.core.ids import from_text, to_text
from kronforce.core.job_settings import JobSettings, effective
from kronforce.core.parameters import Parameters
from kronforce.core.params_text import KEY_MAX, KeyTemplate
from kronforce.core.schedules.interval import Interval
from kronforce.core.targets import (
    AllAgents,
    AnyAgent,
    Local,
    OneAgent,
    Tagged,
    Target,
    route_key,
)
from kronforce.core.templates import TaskTemplate, compile_task
from kronforce.errors import InvalidArgument
from kronforce.store import jobs as job_store
from kronforce.store import open_work
from kronforce.store.hot.commands import Limit
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.agent_service_pb2 import ControllerMessage
from kronforce.v1.job_pb2 import Job

# Snapshots kept: a few KiB each, so some tens of MiB at most.
KEPT = 20_000

# Task types that run processes as the agent's user.
PROCESS_TASKS = frozenset({"shell"})

SECOND = 1_000_000

_SYSTEM = system_scope("engine")


class JobSnapshot:
    """One version of one job. Immutable once made."""

    __slots__ = (
        "_own_route", "agent_ref", "assignment", "assignment_bytes", "default_params", "deleted",
        "group", "id", "id_text", "is_choosy", "is_interval", "job", "key", "name", "needs_trust",
        "parameters", "paused_until", "revision", "run_timeout_us", "settings", "slot_keys",
        "status", "target", "task_type", "template", "trusted", "version",
    )  # fmt: skip

    def __init__(self, row: JobRow) -> None:
        self.key = row.key
        self.id = row.id
        self.id_text = to_text(row.id)
        self.name = row.name
        self.group = row.group_name
        self.version = row.version
        self.revision = row.revision
        self.trusted = row.trusted
        self.status = row.status
        self.paused_until = row.paused_until
        # What waited then does not start.
        self.deleted = row.deleted_at is not None
        self.job = Job.FromString(row.spec)
        self.settings: JobSettings = effective(self.job)
        # How long a run may take from its first start; 0: as long as it takes.
        self.run_timeout_us = self.settings.run_timeout_secs * SECOND
        self.is_interval = isinstance(self.settings.schedule, Interval)
        # Whether it cares which of the free agents it gets.
        self.is_choosy = self.settings.sticky or self.settings.spread
        self.task_type = self.settings.task_type
        # An untrusted process task is never given to the agent that shares the controller's user.
        self.needs_trust = self.task_type in PROCESS_TASKS and not row.trusted
        self.target, self.agent_ref = _target_of(self.job)
        # What runs take as input, or None for anything; and a run's input where nobody gives one.
        self.parameters = Parameters(self.job.parameters) if self.job.parameters else None
        self.default_params = _defaults_of(self.parameters)
        self.slot_keys = _slot_keys_of(self.job) if self.settings.max_concurrent else None
        # None: nothing to put in when an attempt is assigned.
        self.template = _template_of(self.job)
        self.assignment = self._template()
        self.assignment_bytes = self.assignment.ByteSize()
        # Of its own target and the group that it was worked out for: every trigger asks.
        self._own_route: tuple[str, int] | None = None

    def _template(self) -> ControllerMessage:
        """Everything of an assignment that all executions of this version share."""
        message = ControllerMessage()
        a = message.assignment
        a.job_id, a.job_name, a.attempt_number = self.id_text, self.name, 1
        if self.template is None:
            a.task.CopyFrom(self.job.task)
        a.run_as = self.job.run_as
        if self.settings.timeout_secs:
            a.timeout.seconds = self.settings.timeout_secs
        a.kill_grace.seconds = self.settings.kill_grace_secs
        return message

    def route(self, target: Target) -> int:
        """The route of one of its targets, as the store keeps it."""
        if target is not self.target:
            return self._route(target)
        if self._own_route is None or self._own_route[0] != self.group:
            self._own_route = self.group, self._route(target)
        return self._own_route[1]

    def _route(self, target: Target) -> int:
        kind = self.task_type + ("!untrusted" if self.needs_trust else "")
        return int.from_bytes(route_key(target, kind, self.group), "big", signed=True)

    def limit_for(self, params: bytes | None) -> Limit:
        """Its concurrency rule for a run with this input. Raises InvalidArgument."""
        if self.slot_keys is None:
            return self.limit_of("")
        key = self.slot_keys.fill(Struct.FromString(params or b""))
        if len(key) > KEY_MAX:
            raise InvalidArgument.of(
                ("params", f"make the job's concurrency_key longer than {KEY_MAX} characters")
            )
        if "\x00" in key:
            # Free JSON may hold it, a column of text may not.
            raise InvalidArgument.of(
                ("params", "put a NUL character into the job's concurrency_key")
            )
        return self.limit_of(key)

    def limit_of(self, slot_key: str) -> Limit:
        """Its concurrency rule for one key."""
        s = self.settings
        return Limit(slot_key, s.max_concurrent, int(s.concurrency_policy), s.queue_limit)


def _defaults_of(parameters: Parameters | None) -> bytes | None:
    if parameters is None:
        return None
    try:
        return parameters.fill(Struct()).SerializeToString(deterministic=True)
    except InvalidArgument:
        # Something is required: the trigger is told so, and the job has no schedule.
        return None


def _slot_keys_of(job: Job) -> KeyTemplate | None:
    return KeyTemplate(job.concurrency_key) if job.concurrency_key else None


def _template_of(job: Job) -> TaskTemplate | None:
    try:
        template = compile_task(job.task)
    except InvalidArgument:
        # Saved before this was checked: it stays as it stands.
        return None
    return None if template.plain else template


def _target_of(job: Job) -> tuple[Target | None, str]:
    """The target, or None and the name or id of the agent that it names."""
    match job.target.WhichOneof("kind"):
        case "agent":
            return None, job.target.agent.agent_id
        case "tagged":
            return Tagged(tag=job.target.tagged.tag), ""
        case "any":
            return AnyAgent(), ""
        case "all":
            return AllAgents(), ""
        case _:
            return Local(), ""


class JobSnapshots:
    """The cache: by reference for triggers, by (key, version) for what is open."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._current: OrderedDict[int, JobSnapshot] = OrderedDict()
        self._by_name: dict[str, int] = {}
        self._by_id: dict[bytes, int] = {}
        self._versions: OrderedDict[tuple[int, int], JobSnapshot] = OrderedDict()

    def cached(self, ref: str) -> JobSnapshot | None:
        """The current definition of an id or name, if it is at hand."""
        key = self._by_name.get(ref)
        if key is None:
            raw = from_text(ref)
            key = self._by_id.get(raw) if raw is not None else None
        return None if key is None else self._current.get(key)

    def cached_key(self, row: JobRow) -> JobSnapshot | None:
        """The snapshot of exactly this revision, if it is at hand."""
        snapshot = self._current.get(row.key)
        return snapshot if snapshot is not None and snapshot.revision == row.revision else None

    def of_row(self, row: JobRow) -> JobSnapshot:
        """The snapshot of exactly this row, made and kept if it is not at hand."""
        known = self.cached_key(row)
        if known is None:
            known = JobSnapshot(row)
            self.keep(known)
        return known

    async def load(self, scope: Scope, refs: Sequence[str]) -> None:
        """Read what is not at hand, all of it with one call to the store."""
        missing = sorted({ref for ref in refs if ref and self.cached(ref) is None})
        if not missing:
            return
        found = await self._store.read(job_store.find_jobs, scope, missing)
        for row in found.values():
            self.keep(JobSnapshot(row))

    def keep(self, snapshot: JobSnapshot) -> None:
        """Make this the current definition; what it was called before names it no more."""
        self.forget(snapshot.key)
        self._current[snapshot.key] = snapshot
        self._current.move_to_end(snapshot.key)
        self._by_name[snapshot.name] = snapshot.key
        self._by_id[snapshot.id] = snapshot.key
        self._versions[snapshot.key, snapshot.version] = snapshot
        while len(self._current) > KEPT:
            self.forget(next(iter(self._current)))
        while len(self._versions) > KEPT:
            self._versions.popitem(last=False)

    def forget(self, job_key: int) -> None:
        """The definition has changed: read it again when it is next needed."""
        snapshot = self._current.pop(job_key, None)
        if snapshot is not None:
            self._by_name.pop(snapshot.name, None)
            self._by_id.pop(snapshot.id, None)

    def forget_group(self, name: str) -> None:
        """Its jobs are in another group now, or it has another name."""
        for key in [key for key, known in self._current.items() if known.group == name]:
            self.forget(key)

    async def of_versions(
        self, wanted: Iterable[tuple[int, int]]
    ) -> dict[tuple[int, int], JobSnapshot]:
        """Snapshots of the versions that open runs name."""
        result: dict[tuple[int, int], JobSnapshot] = {}
        missing = []
        for pair in set(wanted):
            known = self._versions.get(pair)
            if known is None:
                missing.append(pair)
            else:
                result[pair] = known
        if missing:
            for row in await self._store.read(open_work.jobs_of_versions, missing):
                snapshot = JobSnapshot(row)
                result[snapshot.key, snapshot.version] = snapshot
                self._versions[snapshot.key, snapshot.version] = snapshot
        while len(self._versions) > KEPT:
            self._versions.popitem(last=False)
        return result


def one_agent(agent_id: bytes) -> Target:
    """The target of an execution that is bound to an agent."""
    return OneAgent(agent_id=agent_id)
