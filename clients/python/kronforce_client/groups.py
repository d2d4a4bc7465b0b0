"""Groups: sets of jobs, by which access is scoped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kronforce.v1 import job_service_pb2 as pb
from kronforce.v1.group_pb2 import Group
from kronforce.v1.job_service_pb2_grpc import JobServiceStub
from kronforce_client.calls import Caller
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.job_service_pb2_grpc import JobServiceAsyncStub


class Groups:
    """`kf.groups`. Groups go by their names."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: JobServiceAsyncStub = JobServiceStub(caller.channel)

    async def page(self, *, timeout_secs: float | None = None) -> pb.ListGroupsResponse:
        """The groups that the key may see, by name; there is one page of them.

        The contract (JobService.ListGroups): Lists the groups that the key may see, by name; at
        most 10,000. Over HTTP `/api/jobs/groups` is their names and `/api/groups` what they are.
        """
        return await self._caller.unary(
            self._stub.ListGroups, pb.ListGroupsRequest(), timeout_secs=timeout_secs
        )

    def list(self) -> Stream[Group]:
        """Every group that the key may see, by name."""

        async def fetch(_token: str) -> tuple[Sequence[Group], str]:
            return (await self.page()).groups, ""

        return Stream(pages(fetch))

    async def create(self, name: str, *, timeout_secs: float | None = None) -> Group:
        """Make an empty group.

        The contract (JobService.CreateGroup): Makes an empty group. A key that is limited to groups
        may only make one of those (NOT_ALLOWED).
        """
        request = pb.CreateGroupRequest(name=name)
        return await self._caller.unary(
            self._stub.CreateGroup, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def rename(
        self, old_name: str, new_name: str, *, timeout_secs: float | None = None
    ) -> Group:
        """Rename a group; its jobs, its history and whatever lists it go with it.

        The contract (JobService.RenameGroup): Renames a group (none: GROUP_NOT_FOUND); its jobs go
        with it, and whatever lists it (keys, agents, join tokens, variables) lists its new name
        from then on. Its runs and events follow within moments; until they have, the old name stays
        taken (NAME_TAKEN), the group cannot be renamed or deleted again (IN_USE), and keys of the
        group see both names' runs. Streams of such keys end with UNAVAILABLE: open them again.
        `Default` keeps its name (IN_USE). A key that is limited to groups needs both names among
        them (NOT_ALLOWED).
        """
        request = pb.RenameGroupRequest(old_name=old_name, new_name=new_name)
        return await self._caller.unary(
            self._stub.RenameGroup, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def delete(
        self, name: str, *, timeout_secs: float | None = None
    ) -> pb.DeleteGroupResponse:
        """Delete a group; its jobs move to `Default`.

        The contract (JobService.DeleteGroup): Deletes a group; its jobs move to `Default`, its runs
        and events keep the name, and so does whatever lists it. `Default` itself cannot be deleted,
        nor a group whose jobs name a variable that it may use and `Default` may not (IN_USE). A key
        that is limited to groups may delete only where it may see `Default` too (NOT_ALLOWED).
        """
        request = pb.DeleteGroupRequest(name=name)
        return await self._caller.unary(
            self._stub.DeleteGroup, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def assign(
        self, group: str, jobs: Sequence[str], *, timeout_secs: float | None = None
    ) -> pb.AssignGroupResponse:
        """Move up to 1,000 jobs (ids or exact names) to a group: all of them, or none.

        The contract (JobService.AssignGroup): Moves jobs to a group, all of them or, when one
        cannot be, none: each must be there (JOB_NOT_FOUND), and what it names must be for that
        group too (NOT_ALLOWED). Their etags change, their versions do not. Runs keep the group in
        which they were triggered, also those that wait.
        """
        request = pb.AssignGroupRequest(group=group, job_ids=jobs)
        return await self._caller.unary(self._stub.AssignGroup, request, timeout_secs=timeout_secs)
