"""What a custom agent is answered with: its work in the documented JSON's words."""

from __future__ import annotations

from urllib.parse import quote

from kronforce.core.ids import to_text
from kronforce.engine.agents.session import fill, put_in
from kronforce.engine.pull.polls import Claim
from kronforce.v1.agent_service_pb2 import ControllerMessage, PullAssignmentResponse

# Where it reports how it ended.
CALLBACK = "/api/callbacks/execution-result/"


def claim_message(claim: Claim, attempt: str, reached_at: str) -> PullAssignmentResponse:
    """The work of one execution. `reached_at` is how the caller reached us, `http://host:port`."""
    message = ControllerMessage()
    fill(message, claim.work.live)
    if claim.work.resolved is not None:
        put_in(message.assignment, claim.work.resolved)
    work = message.assignment
    reply = PullAssignmentResponse(
        queue_id=message.execution_id,
        execution_id=message.execution_id,
        job_id=work.job_id,
        agent_id=to_text(claim.agent.id),
        task=work.task,
        callback_url=f"{reached_at}{CALLBACK}{quote(attempt)}",
        run_as=work.run_as,
        timeout_secs=work.timeout.seconds,
        attempt=attempt,
        fence=message.fence,
        run_id=work.run_id,
        job_name=work.job_name,
        attempt_number=work.attempt_number,
        cancel_execution_ids=claim.cancels,
    )
    if work.HasField("params"):
        reply.params.CopyFrom(work.params)
    if work.HasField("nominal_at"):
        reply.nominal_at.CopyFrom(work.nominal_at)
    return reply
