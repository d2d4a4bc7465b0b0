"""A run that was just made, as memory keeps it and as its caller is told."""

from __future__ import annotations

from kronforce.core.ids import to_text
from kronforce.engine.live import LiveExecution, LiveRun
from kronforce.store.hot.commands import Created, CreateRun, NewTarget
from kronforce.store.tables import Admission, Phase
from kronforce.v1.run_pb2 import Run

PENDING, SKIPPED = 1, 8


def live_run(run: CreateRun) -> LiveRun:
    """The run for the table of what is live."""
    limit = run.limit
    admission = Admission.UNLIMITED
    if limit is not None:
        admission = Admission.WAITING if run.outcome is Created.WAITING else Admission.ACTIVE
    return LiveRun(
        key=run.key, id_=run.id, job=run.job, group=run.job.group, trigger=run.trigger,
        principal_key=run.principal_key, principal=run.principal, client_id=run.client_id,
        priority=run.priority,
        created_at=run.created_at, nominal_at=run.fire_at, params=run.params,
        target_count=len(run.targets), open_targets=sum(not t.skip_reason for t in run.targets),
        admission=admission, slot_key=limit.key if limit is not None else "", state=PENDING,
        revision=1, started_at=None, cancelled_by="",
    )  # fmt: skip


def live_execution(of: LiveRun, run: CreateRun, target: NewTarget) -> LiveExecution:
    """The first attempt of a target, ready."""
    return LiveExecution(
        of, key=target.execution_key, id_=target.execution_id, target_index=target.index,
        attempt_number=1, retry_of=None, losses=0, phase=Phase.READY, route=target.route,
        fence=target.fence, queue_deadline_at=run.queue_deadline_at,
        bound_agent_key=target.agent_key,
    )  # fmt: skip


def run_message(run: CreateRun) -> Run:
    """The run as the transaction left it."""
    job = run.job
    skipped = run.outcome is Created.SKIPPED or all(t.skip_reason for t in run.targets)
    message = Run(
        id=to_text(run.id), job_id=job.id_text, job_name=job.name, group=job.group,
        job_version=job.version, state=SKIPPED if skipped else PENDING, trigger=run.trigger,  # type: ignore[arg-type]  # numbers, as stored
        triggered_by=run.principal, client_id=run.client_id, priority=run.priority, revision=1,
        target_count=len(run.targets),
        state_reason="concurrency" if run.outcome is Created.WAITING else run.skip_reason,
    )  # fmt: skip
    message.created_at.FromMicroseconds(run.created_at)
    if skipped:
        message.finished_at.FromMicroseconds(run.created_at)
    if run.params is not None:
        message.params.ParseFromString(run.params)
    if run.rerun_of is not None:
        message.rerun_of = to_text(run.rerun_of)
    if run.fire_at is not None:
        message.nominal_at.FromMicroseconds(run.fire_at)
    return message
