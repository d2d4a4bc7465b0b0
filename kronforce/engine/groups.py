"""The use cases of groups: make, rename, delete, and move jobs between them.

What governs changes in one transaction; what memory holds follows after the
commit: job snapshots, live runs, agents' sessions. The runs and events of a
renamed group follow in the background, also after a restart (see
`store/groups.py`). A run keeps the group that its job had when it was
triggered, unless that group itself is renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.core.names import DEFAULT_GROUP, group_name_problem
from kronforce.engine.agents.directory import Directory
from kronforce.engine.agents.sessions import Sessions
from kronforce.engine.audit_states import job_resource
from kronforce.engine.auditing import Resource, record
from kronforce.engine.dispatcher import Dispatcher
from kronforce.engine.job_changes import check_references
from kronforce.engine.live import LiveTable
from kronforce.engine.snapshots import JobSnapshots
from kronforce.engine.tasks import Tasks
from kronforce.engine.values import named_by_jobs
from kronforce.engine.values.cache import VariableCache
from kronforce.errors import GroupNotFound, InUse, InvalidArgument, JobNotFound, NotAllowed
from kronforce.store import agents, events, groups, jobs, stats_folding
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.groups import GroupRow
from kronforce.store.jobs import JobRow
from kronforce.store.store import Store
from kronforce.v1.event_pb2 import SEVERITY_INFO, SEVERITY_WARNING
from kronforce.v1.job_pb2 import Job

# Jobs moved by one call: each is checked as if it were saved.
JOBS_AT_ONCE = 1_000

# Between two batches of history: the writer is free for others at least this long.
PAUSE_SECS = 0.02


class Groups:
    """Every change that a caller can make to groups."""

    def __init__(
        self, *, store: Store, clock: Clock, snapshots: JobSnapshots, table: LiveTable,
        directory: Directory, dispatcher: Dispatcher, sessions: Sessions, variables: VariableCache,
        tasks: Tasks,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._snapshots = snapshots
        self._table = table
        self._directory = directory
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._variables = variables
        self._tasks = tasks

    async def create(self, scope: Scope, author: Actor, name: str) -> GroupRow:
        """Make an empty group."""
        _check_name("name", name)
        _check_reach(scope, name)
        return await self._store.write(_create, name, author, self._clock.now_us())

    async def rename(self, scope: Scope, author: Actor, old_name: str, new_name: str) -> GroupRow:
        """Give a group another name; its jobs, its history, and who may use it go with it."""
        _check_name("new_name", new_name)
        if old_name == DEFAULT_GROUP:
            raise InUse(f"{DEFAULT_GROUP!r} keeps its name: jobs that name no group are in it")
        row = await self._store.read(_require, scope, old_name)
        if old_name == new_name:
            return row
        _check_reach(scope, new_name)
        row = await self._store.write(
            _rename, scope, old_name, new_name, author, self._clock.now_us()
        )
        await self._follow_rename(old_name, new_name)
        return row

    async def delete(self, scope: Scope, author: Actor, name: str) -> int:
        """Delete a group; how many jobs moved to `Default`."""
        if name == DEFAULT_GROUP:
            raise InUse(f"{DEFAULT_GROUP!r} cannot be deleted: jobs that name no group are in it")
        await self._store.read(_require, scope, name)
        _check_reach(scope, DEFAULT_GROUP)
        moved = await self._store.write(_delete, scope, name, author, self._clock.now_us())
        self._snapshots.forget_group(name)
        return moved

    async def assign(self, scope: Scope, author: Actor, refs: Sequence[str], name: str) -> int:
        """Move jobs to a group, all or none; how many were in another one."""
        if not 1 <= len(refs) <= JOBS_AT_ONCE:
            raise InvalidArgument.of(
                ("job_ids", f"names {len(refs)} jobs; from 1 to {JOBS_AT_ONCE:,}")
            )
        _check_name("group", name)
        moved = await self._store.write(
            _assign, scope, list(refs), name, author, self._clock.now_us()
        )
        for row in moved:
            self._snapshots.forget(row.key)
        return len(moved)

    async def resume(self) -> None:
        """At start, before anything is loaded: go on with renames that a stop interrupted."""
        for old_name, new_name in (await self._store.read(groups.pending_renames)).items():
            self._table.renamed[old_name] = new_name
            self._move_history(old_name, new_name)

    async def _follow_rename(self, old_name: str, new_name: str) -> None:
        """What memory holds takes the new name; no await until it has, but for the agents."""
        self._table.rename_group(old_name, new_name)
        self._snapshots.forget_group(old_name)
        self._dispatcher.rename_group(old_name, new_name)
        self._variables.rename_group(old_name, new_name)
        for row in await self._store.read(agents.all_agents):
            known = self._directory.rows.get(row.key)
            if known is not None and known.allowed_groups != row.allowed_groups:
                self._directory.put(row)
                self._sessions.on_placement(row)
        self._move_history(old_name, new_name)

    def _move_history(self, old_name: str, new_name: str) -> None:
        self._tasks.spawn_until_done(
            lambda: self._history(old_name, new_name), name="rename-history"
        )

    async def _history(self, old_name: str, new_name: str) -> None:
        while await self._store.write(groups.move_runs, old_name, new_name):
            await self._pause()
        # Nothing is told under the old name any more: the newest event now is the last of it.
        start = await self._store.read(groups.first_event)
        end = await self._store.read(groups.last_event)
        while start <= end:
            await self._store.write(groups.move_events, old_name, new_name, start)
            start += groups.EVENTS_AT_ONCE
            await self._pause()
        await self._statistics(old_name, new_name)
        await self._store.write(groups.end_rename, old_name)
        self._table.renamed.pop(old_name, None)

    async def _statistics(self, old_name: str, new_name: str) -> None:
        """First what is not in its bucket yet, so that none comes under the old name later."""
        now = self._clock.now_us()
        while await self._store.write(stats_folding.fold, now):
            await self._pause()
        for bucket in await self._store.read(stats_folding.buckets_of, old_name, now):
            await self._store.write(stats_folding.rename_in_bucket, bucket, old_name, new_name)
            await self._pause()

    async def _pause(self) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + PAUSE_SECS)


def _create(tx: Tx, name: str, author: Actor, now: int) -> GroupRow:
    row = groups.insert_group(tx, name, now)
    _tell(tx, "group.created", name, author, now, f"the group {name} was made")
    record(tx, author, now, "group.created", _resource(name), after={"name": name})
    return row


def _rename(
    tx: Tx, scope: Scope, old_name: str, new_name: str, author: Actor, now: int
) -> GroupRow:
    row = _require(tx, scope, old_name)
    groups.rename_group(tx, row, new_name, now)
    message = f"the group {old_name} is called {new_name} now"
    _tell(tx, "group.renamed", new_name, author, now, message)
    before, after = {"name": old_name}, {"name": new_name}
    record(tx, author, now, "group.renamed", _resource(new_name), before=before, after=after)
    return GroupRow(key=row.key, name=new_name, created_at=row.created_at, job_count=row.job_count)


def _delete(tx: Tx, scope: Scope, name: str, author: Actor, now: int) -> int:
    found = _require(tx, scope, name)
    named_by_jobs.check_group_move(tx, name, DEFAULT_GROUP)
    moved = groups.delete_group(tx, found, now)
    message = f"the group {name} was deleted; {moved} jobs of it are in {DEFAULT_GROUP} now"
    _tell(tx, "group.deleted", name, author, now, message, severity=SEVERITY_WARNING)
    before, details = {"name": name}, {"moved_jobs": moved}
    record(tx, author, now, "group.deleted", _resource(name), before=before, details=details)
    return moved


def _assign(
    tx: Tx, scope: Scope, refs: list[str], name: str, author: Actor, now: int
) -> list[JobRow]:
    found = jobs.find_jobs(tx, scope, refs)
    if missing := sorted({ref for ref in refs if ref not in found}):
        raise JobNotFound(f"no job {missing[0]!r}, so none was moved; see `kronforce job list`",
                          job=missing[0])  # fmt: skip
    rows = {row.key: row for row in found.values() if row.group_name != name}
    for row in rows.values():
        spec = Job.FromString(row.spec)
        spec.group = name
        check_references(tx, scope, spec, trusted=row.trusted)
    if not rows:
        _check_reach(scope, name)
        return []
    groups.ensure_group(tx, name, now)
    groups.move_jobs(tx, list(rows), name, now)
    events.insert_events(tx, [_moved(row, name, author, now) for row in rows.values()])
    for row in rows.values():
        before, after = {"group": row.group_name}, {"group": name}
        moved = replace(job_resource(row), group=name)
        record(tx, author, now, "job.moved", moved, before=before, after=after)
    return list(rows.values())


def _moved(row: JobRow, name: str, author: Actor, now: int) -> events.NewEvent:
    return events.NewEvent(
        kind="job.updated",
        severity=SEVERITY_INFO,
        at=now,
        # Not where from: keys of the new group need not know of the old one. The audit log says.
        message=f"{row.name} was moved to {name}",
        actor=author.name,
        job_id=row.id,
        job_name=row.name,
        group_name=name,
    )


def _tell(
    tx: Tx,
    kind: str,
    name: str,
    author: Actor,
    now: int,
    message: str,
    severity: int = SEVERITY_INFO,
) -> None:
    event = events.NewEvent(
        kind=kind, severity=severity, at=now, message=message, actor=author.name, group_name=name
    )
    events.insert_events(tx, [event])


def _resource(name: str) -> Resource:
    return Resource(type="group", name=name, group=name)


def _require(tx: Tx, scope: Scope, name: str) -> GroupRow:
    row = groups.find_group(tx, scope, name)
    if row is None:
        raise GroupNotFound(f"no group {name!r}; see `kronforce group list`", group=name)
    return row


def _check_name(field: str, name: str) -> None:
    if problem := group_name_problem(name):
        raise InvalidArgument.of((field, problem))


def _check_reach(scope: Scope, name: str) -> None:
    """A name beyond the caller's groups may be one that a secret or another key waits for."""
    if not scope.allows_group(name):
        raise NotAllowed(
            f"your key is limited to groups, and {name!r} is none of them; ask an admin", group=name
        )
