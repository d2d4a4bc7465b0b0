"""The groups of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

from kronforce.v1 import group_pb2, job_service_pb2, job_service_pb2_grpc
from tests.fakes.api.state import State, now


class FakeGroups(job_service_pb2_grpc.JobServiceServicer):
    """The part of JobService that sorts jobs into groups."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def ListGroups(self, request, context):
        names = sorted(
            {"Default", *self._shared.groups, *(job.group for job in self._shared.jobs.values())}
        )
        return job_service_pb2.ListGroupsResponse(groups=[self._group(name) for name in names])

    async def CreateGroup(self, request, context):
        self._shared.groups.add(request.name)
        return self._group(request.name)

    async def RenameGroup(self, request, context):
        self._move(lambda job: job.group == request.old_name, request.new_name)
        self._shared.groups = self._shared.groups - {request.old_name} | {request.new_name}
        return self._group(request.new_name)

    async def DeleteGroup(self, request, context):
        self._shared.groups.discard(request.name)
        moved = self._move(lambda job: job.group == request.name, "Default")
        return job_service_pb2.DeleteGroupResponse(moved_jobs=moved)

    async def AssignGroup(self, request, context):
        wanted = {self._shared.find_job(reference).id for reference in request.job_ids}
        moved = self._move(lambda job: job.id in wanted, request.group)
        return job_service_pb2.AssignGroupResponse(moved_jobs=moved)

    def _group(self, name):
        count = sum(job.group == name for job in self._shared.jobs.values())
        return group_pb2.Group(name=name, created_at=now(), job_count=count)

    def _move(self, chosen, group):
        moving = [job for job in self._shared.jobs.values() if chosen(job) and job.group != group]
        for job in moving:
            job.group = group
        return len(moving)
