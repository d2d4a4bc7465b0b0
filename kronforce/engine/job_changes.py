"""What the use cases of jobs write, each as one function over one transaction.

Everything that decides is in `core`; everything that is stored goes through
`store`. A change and its event are written together or not at all, and no
change ever fires the past: timing is computed from now on.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

from kronforce.clock import from_us, to_us
from kronforce.core import ids
from kronforce.core.access import Scope, may_see, may_use
from kronforce.core.job_mask import merged
from kronforce.core.job_rules import normalise_job, validate_job
from kronforce.core.job_settings import effective
from kronforce.core.job_timing import NEVER_RAN, LastEnd, Timing, plan_timing, settle
from kronforce.core.lifecycle import TERMINAL
from kronforce.core.schedules.window import JobStatus
from kronforce.engine import custom_jobs
from kronforce.engine.audit_states import job_resource, job_state
from kronforce.engine.auditing import record
from kronforce.engine.values import named_by_jobs as job_variables
from kronforce.errors import Aborted, GroupNotFound, InvalidArgument, JobNotFound, NotAllowed
from kronforce.store import agents, events, fires, jobs, requests, webhooks
from kronforce.store.audit import KeyedActor
from kronforce.store.database import Tx
from kronforce.store.jobs import JobRow
from kronforce.v1.event_pb2 import SEVERITY_INFO
from kronforce.v1.job_pb2 import JOB_STATUS_PAUSED, Job

# Names that look like a wrong one; more would be a list to read.
_SUGGESTIONS = 3
# Names compared for a suggestion.
_SUGGEST_FROM = 1_000

# A change of one of these plans the next fire anew; any other leaves it where it is.
_TIMING_FIELDS = (
    "schedule", "timezone", "dst_gap", "dst_fold", "jitter_secs", "starts_at", "expires_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What all changes have in common."""

    scope: Scope
    author: KeyedActor
    # Whether the author may run processes as the controller's user.
    trusted: bool
    now: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestClaim:
    """A `request_id` and the hash of what it stands for."""

    request_id: str
    hash: bytes


def create_job(
    tx: Tx,
    change: Change,
    *,
    job_id: bytes,
    job: Job,
    claim: RequestClaim | None,
    triggered: bool,
) -> tuple[JobRow, bool]:
    """Make a job that was checked; for a request that was claimed before, its job, and True.

    `triggered`: its first run follows at once, so that an interval waits for that one's end.
    """
    if claim is not None:
        made = requests.claim_request(
            tx,
            principal_key=change.author.key,
            request_id=claim.request_id,
            hash=claim.hash,
            resource_id=job_id,
            now=change.now,
        )
        if made is not None:
            return _require(tx, change.scope, ids.to_text(made)), True
    spec = normalise_job(job)
    check_references(tx, change.scope, spec, trusted=change.trusted)
    custom_jobs.settle(tx, change.scope, spec)
    paused = job.status == JOB_STATUS_PAUSED
    timing = _plan(spec, change.now, last=LastEnd(open=triggered), paused=paused)
    row = jobs.insert_job(
        tx,
        id=job_id,
        name=spec.name,
        group_name=effective(spec).group,
        tags=tuple(spec.tags),
        labels=dict(spec.labels),
        spec=spec.SerializeToString(deterministic=True),
        trusted=change.trusted,
        actor=change.author.name,
        now=change.now,
        **_columns(timing),
    )
    job_variables.note(tx, row.key, spec)
    _tell(tx, change, "job.created", row, f"{row.name} was created")
    _record(tx, change, "job.created", None, row)
    return row, False


def update_job(
    tx: Tx, change: Change, *, ref: str, job: Job, mask: Sequence[str]
) -> tuple[JobRow, bool]:
    """Make the next version, and whether there was anything to change."""
    row = _require(tx, change.scope, ref)
    check_etag(row, job.etag)
    before = _current(row)
    spec = normalise_job(merged(before, job, mask))
    custom_jobs.restore(spec, before)
    paused = _wants_pause(row, job, mask)
    if spec == before and paused == (row.status == JobStatus.PAUSED):
        return row, False
    if problems := validate_job(spec, from_us(change.now)):
        raise InvalidArgument.of(*problems)
    check_references(tx, change.scope, spec, trusted=change.trusted)
    if (spec.task, spec.target) != (before.task, before.target):
        custom_jobs.settle(tx, change.scope, spec)
    timing = _retimed(tx, row, before, spec, change.now, paused=paused)
    changed = jobs.update_job(
        tx,
        key=row.key,
        expected_revision=row.revision,
        name=spec.name,
        group_name=effective(spec).group,
        tags=tuple(spec.tags),
        labels=dict(spec.labels),
        spec=spec.SerializeToString(deterministic=True),
        trusted=change.trusted,
        actor=change.author.name,
        now=change.now,
        **timing,
    )
    job_variables.note(tx, row.key, spec)
    _tell(tx, change, "job.updated", changed, f"{changed.name} is version {changed.version} now")
    _record(tx, change, "job.updated", row, changed)
    return changed, True


def pause_job(tx: Tx, change: Change, *, ref: str, until: int | None) -> tuple[JobRow, bool]:
    """Hold the schedule. It goes on in the ledger: what comes due is recorded as skipped."""
    row = _require(tx, change.scope, ref)
    if row.status == JobStatus.PAUSED and row.paused_until == until:
        return row, False
    changed = _set_timing(tx, row, _held(row, until), change.now)
    how_long = "" if until is None else f" until {from_us(until).isoformat(timespec='seconds')}"
    _tell(tx, change, "job.updated", changed, f"{row.name} was paused{how_long}")
    _record(tx, change, "job.paused", row, changed)
    return changed, True


def resume_job(tx: Tx, change: Change, *, ref: str) -> tuple[JobRow, bool]:
    """Let the schedule fire again, from now on."""
    row = _require(tx, change.scope, ref)
    if row.status != JobStatus.PAUSED:
        return row, False
    spec = Job.FromString(row.spec)
    _settle(tx, row, spec, change.now)
    timing = _plan(spec, change.now, last=_last_end(tx, row))
    changed = _set_timing(tx, row, _columns(timing), change.now)
    _tell(tx, change, "job.updated", changed, f"{row.name} was resumed")
    _record(tx, change, "job.resumed", row, changed)
    return changed, True


def replan_job(tx: Tx, change: Change, *, ref: str) -> tuple[JobRow, bool]:
    """Plan the next fire anew: what was to follow a run that was not made."""
    row = _require(tx, change.scope, ref)
    timing = _plan(
        Job.FromString(row.spec),
        change.now,
        last=_last_end(tx, row),
        paused=row.status == JobStatus.PAUSED,
        paused_until=row.paused_until,
    )
    return _set_timing(tx, row, _columns(timing), change.now), True


def delete_job(tx: Tx, change: Change, *, ref: str, etag: str) -> JobRow:
    """Delete the job; what waits of it is cancelled by whoever called, after the commit."""
    row = _require(tx, change.scope, ref)
    check_etag(row, etag)
    job_variables.forget(tx, row.key)
    webhooks.delete_of_job(tx, row.key)
    deleted = jobs.mark_deleted(tx, row.key, change.now, expected_revision=row.revision)
    _tell(tx, change, "job.deleted", deleted, f"{row.name} was deleted")
    _record(tx, change, "job.deleted", row, None)
    return deleted


def _current(row: JobRow) -> Job:
    """The definition, in the group that the job was moved to or that was renamed since."""
    spec = Job.FromString(row.spec)
    if row.group_name != effective(spec).group:
        spec.group = row.group_name
    return spec


def etag_of(row: JobRow) -> str:
    """Changes whenever the definition or its pause does."""
    return str(row.revision)


def check_etag(row: JobRow, etag: str) -> None:
    """Raises Aborted unless the etag is empty or the current one."""
    if etag and etag != etag_of(row):
        raise Aborted(
            f"job {row.name!r} was changed meanwhile; read it again, then retry with its new etag",
            etag=etag_of(row),
        )


def _require(tx: Tx, scope: Scope, ref: str) -> JobRow:
    if not ref:
        raise InvalidArgument.of(("job_id", "is required: a job's id or exact name"))
    row = jobs.find_job(tx, scope, ref)
    if row is None:
        raise JobNotFound(f"no job {ref!r}; see `kronforce job list`", job=ref)
    return row


def check_references(tx: Tx, scope: Scope, spec: Job, *, trusted: bool) -> None:
    """Whether whoever saves this may use everything that it names, in the group that it names.

    `trusted`: the version's author may use secrets that no group may.
    """
    group = effective(spec).group
    if not scope.allows_group(group):
        mine = ", ".join(sorted(scope.groups or ()))
        raise GroupNotFound(
            f"no group {group!r} among those of your key; set group to one of: {mine}", group=group
        )
    if spec.target.WhichOneof("kind") == "agent":
        _check_agent(tx, scope, spec)
    job_variables.check(tx, scope, spec, group, trusted=trusted)


def _check_agent(tx: Tx, scope: Scope, spec: Job) -> None:
    reference, group = spec.target.agent.agent_id, effective(spec).group
    found = agents.visible_agent(tx, scope, reference)
    if found is not None and not may_use(found.allowed_groups, group):
        groups = ", ".join(found.allowed_groups)
        raise NotAllowed(
            f"agent {found.name!r} runs jobs of {groups} and not of {group!r}; move the job to one "
            f"of these, or have an admin allow it: kronforce agent set {found.name} --group …",
            agent=found.name,
            group=group,
        )
    if found is not None:
        return
    seen = (a for a in agents.all_agents(tx) if may_see(scope, a.allowed_groups))
    names = [agent.name for agent in islice(seen, _SUGGEST_FROM)]
    raise InvalidArgument.of(
        (
            "target.agent_id",
            f"job {spec.name!r} names agent {reference!r}, which does not exist; "
            f"{_agents_instead(reference, names)}",
        )
    )


def _agents_instead(reference: str, names: Sequence[str]) -> str:
    """Which agents may be meant: those that look like it, or all where there are few."""
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(reference.casefold(), folded, n=_SUGGESTIONS, cutoff=0.5)
    if close:
        return f"agents that look like it: {', '.join(folded[name] for name in close)}"
    if 0 < len(names) <= _SUGGESTIONS:
        return f"there are: {', '.join(sorted(names))}, see `kronforce agent list`"
    return "see `kronforce agent list`"


def _wants_pause(row: JobRow, job: Job, mask: Sequence[str]) -> bool:
    if mask and "status" not in mask:
        return row.status == JobStatus.PAUSED
    return job.status == JOB_STATUS_PAUSED


class _Columns(TypedDict):
    """The timing columns of a row."""

    status: int
    paused_until: int | None
    next_fire_at: int | None
    next_nominal_at: int | None


def _plan(
    spec: Job,
    now: int,
    *,
    last: LastEnd = NEVER_RAN,
    paused: bool = False,
    paused_until: int | None = None,
) -> Timing:
    return plan_timing(
        effective(spec),
        now=from_us(now),
        last=last,
        paused=paused,
        paused_until=None if paused_until is None else from_us(paused_until),
    )


def _retimed(tx: Tx, row: JobRow, before: Job, after: Job, now: int, *, paused: bool) -> _Columns:
    """Planned anew where the change is about timing; otherwise what is due stays due."""
    was_paused = row.status == JobStatus.PAUSED
    same = all(getattr(before, name) == getattr(after, name) for name in _TIMING_FIELDS)
    if not same or (was_paused and not paused):
        _settle(tx, row, before, now)
        until = row.paused_until if was_paused else None
        timing = _plan(after, now, last=_last_end(tx, row), paused=paused, paused_until=until)
        return _columns(timing)
    return _held(row, row.paused_until) if paused else _kept(row)


def _settle(tx: Tx, row: JobRow, spec: Job, now: int) -> None:
    """Account for what is due and not fired, before the schedule is planned anew from now."""
    if row.next_nominal_at is None or row.next_nominal_at > now:
        return
    settings = effective(spec)
    until = None if row.paused_until is None else from_us(row.paused_until)
    due = settle(
        settings,
        planned=from_us(row.next_nominal_at),
        now=from_us(now),
        gate=settings.gate(status=row.status, paused_until=until),
    )
    fires.record_skips(
        tx, [fires.Skip(row.key, to_us(s.first), to_us(s.last), s.count, s.reason, now)
             for s in due]
    )  # fmt: skip


def _kept(row: JobRow) -> _Columns:
    return _Columns(
        status=row.status,
        paused_until=row.paused_until,
        next_fire_at=row.next_fire_at,
        next_nominal_at=row.next_nominal_at,
    )


def _held(row: JobRow, until: int | None) -> _Columns:
    return _Columns(
        status=int(JobStatus.PAUSED),
        paused_until=until,
        next_fire_at=row.next_fire_at,
        next_nominal_at=row.next_nominal_at,
    )


def _columns(timing: Timing) -> _Columns:
    return _Columns(
        status=int(timing.status),
        paused_until=None if timing.paused_until is None else to_us(timing.paused_until),
        next_fire_at=None if timing.next_fire_at is None else to_us(timing.next_fire_at),
        next_nominal_at=None if timing.next_nominal_at is None else to_us(timing.next_nominal_at),
    )


def _set_timing(tx: Tx, row: JobRow, timing: _Columns, now: int) -> JobRow:
    return jobs.set_timing(
        tx, key=row.key, now=now, bump=True, expected_revision=row.revision, **timing
    )


def _last_end(tx: Tx, row: JobRow) -> LastEnd:
    last = jobs.last_runs(tx, [row.key]).get(row.key)
    if last is None:
        return NEVER_RAN
    at = None if last.finished_at is None else from_us(last.finished_at)
    return LastEnd(open=last.state not in TERMINAL, at=at)


def _tell(tx: Tx, change: Change, kind: str, row: JobRow, message: str) -> None:
    events.insert_events(
        tx,
        [
            events.NewEvent(
                kind=kind,
                severity=SEVERITY_INFO,
                at=change.now,
                message=message,
                actor=change.author.name,
                job_id=row.id,
                job_name=row.name,
                group_name=row.group_name,
            )
        ],
    )


def _record(
    tx: Tx, change: Change, operation: str, before: JobRow | None, after: JobRow | None
) -> None:
    row = after or before
    assert row is not None
    record(
        tx,
        change.author,
        change.now,
        operation,
        job_resource(row),
        before=None if before is None else job_state(before),
        after=None if after is None else job_state(after),
    )
