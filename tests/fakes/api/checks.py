"""What the controller in memory finds wrong in a job before it keeps it."""

from __future__ import annotations

import grpc

from kronforce.v1 import job_pb2
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State


def check_cron(job: job_pb2.Job) -> None:
    cron = job.schedule.cron
    if cron and not cron.startswith("@") and len(cron.split()) != 6:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "the cron expression is wrong",
            [("schedule.value", f'"{cron}" has {len(cron.split())} fields, cron here has 6')],
        )


def check_agent(shared: State, job: job_pb2.Job) -> None:
    wanted = job.target.agent.agent_id
    if wanted and wanted not in {agent.name for agent in shared.agents.values()}:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            "the target is wrong",
            [("target.agent_id", f"names agent '{wanted}', which does not exist")],
        )
