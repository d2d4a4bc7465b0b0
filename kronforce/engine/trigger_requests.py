"""What an item of a trigger asks for, checked without the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from kronforce.core.canonical import canonical_hash
from kronforce.core.params_rules import params_problems
from kronforce.core.schedules.window import JobStatus
from kronforce.engine.snapshots import JobSnapshot
from kronforce.errors import InvalidArgument, JobNotFound, JobPaused, NotFound, OutsideWindow
from kronforce.v1.job_service_pb2 import TriggerJobRequest

MAX_REQUEST_ID = 100
MAX_CLIENT_ID = 100

SECOND = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """The run that is run again, the agents it is bound to (None: as the job chooses now)."""

    of: bytes
    agents: tuple[int | None, ...] | None
    # What was asked for: only what did not succeed, and other params than the run's.
    failed_only: bool
    other_params: bool


def job_not_found(ref: str) -> NotFound:
    """What is said of a job that is not there, or not for the caller."""
    return JobNotFound(f"no job {ref!r}; see `kronforce job list`", job=ref)


def check_request(request: TriggerJobRequest) -> None:
    """Raises InvalidArgument, naming the field."""
    if len(request.request_id) > MAX_REQUEST_ID or not request.request_id.isprintable():
        raise InvalidArgument.of(("request_id", f"at most {MAX_REQUEST_ID} printable characters"))
    if len(request.client_id) > MAX_CLIENT_ID or not request.client_id.isprintable():
        raise InvalidArgument.of(("client_id", f"at most {MAX_CLIENT_ID} printable characters"))
    if request.HasField("priority") and not -1000 <= request.priority <= 1000:
        raise InvalidArgument.of(("priority", "from -1000 to 1000"))


def check_unattended(job: JobSnapshot, now: int) -> None:
    """What holds back a trigger that nobody stands behind. Raises JobPaused, OutsideWindow."""
    if job.status == JobStatus.PAUSED and (job.paused_until is None or now < job.paused_until):
        raise JobPaused(
            f"job {job.name!r} is paused, and nothing fires it but a call by hand; resume it, "
            "then send this again",
            job=job.name,
        )
    check_window(job, now, or_else="nothing fires it then but a call by hand, with force")


def check_window(
    job: JobSnapshot, now: int, or_else: str = "trigger it with force to run it all the same"
) -> None:
    """Raises OutsideWindow."""
    s = job.settings
    for bound, early in ((s.starts_at, True), (s.expires_at, False)):
        if bound is None:
            continue
        at = int(bound.timestamp() * SECOND)
        if (now < at) if early else (now >= at):
            word = "starts_at" if early else "expires_at"
            raise OutsideWindow(
                f"job {job.name!r} is outside its window ({word} {bound.isoformat()}); {or_else}",
            )


def params_of(request: TriggerJobRequest, job: JobSnapshot) -> bytes:
    """The params of the run, defaults filled in. Raises InvalidArgument."""
    params = request.params
    if job.parameters is not None:
        params = job.parameters.fill(params)
    elif problems := params_problems(params):
        raise InvalidArgument.of(*problems)
    return params.SerializeToString(deterministic=True)


def hash_of(request: TriggerJobRequest, job: JobSnapshot, rerun: Rerun | None) -> bytes:
    """What a repeated request id is compared by."""
    content: dict[str, Any] = {"job": job.id_text, "force": request.force}
    if rerun is not None:
        content["rerun"] = [rerun.of.hex(), rerun.failed_only, rerun.other_params]
    if request.HasField("params"):
        content["params"] = MessageToDict(request.params)
    if request.HasField("priority"):
        content["priority"] = request.priority
    return canonical_hash(content)
