"""The audit log: who changed what, and whether the log still is what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from kronforce.v1 import audit_service_pb2 as pb
from kronforce.v1.audit_pb2 import AuditEntry
from kronforce.v1.audit_service_pb2_grpc import AuditServiceStub
from kronforce_client.calls import Caller
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.audit_service_pb2_grpc import AuditServiceAsyncStub

# Faults that a whole check gives, as many as one call does.
FAULTS_MAX = 100

# Called after each part of a check, with what was found so far.
OnProgress = Callable[[pb.VerifyAuditResponse], None]


class Audit:
    """`kf.audit`, for admin keys. `operation` is exact, or a prefix with `*` (`job.*`)."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: AuditServiceAsyncStub = AuditServiceStub(caller.channel)

    async def page(
        self,
        *,
        operation: str = "",
        actor: str = "",
        resource: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        refused: bool = False,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListAuditResponse:
        """One page of entries, newest first. `actor` and `resource` are ids or names."""
        request = pb.ListAuditRequest(
            page_size=page_size,
            page_token=page_token,
            operation=operation,
            actor=actor,
            resource=resource,
            since=timestamp(since),
            until=timestamp(until),
            refused=refused,
        )
        return await self._caller.unary(self._stub.ListAudit, request, timeout_secs=timeout_secs)

    def list(
        self,
        *,
        operation: str = "",
        actor: str = "",
        resource: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        refused: bool = False,
    ) -> Stream[AuditEntry]:
        """Every entry that matches, newest first, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[AuditEntry], str]:
            page = await self.page(
                operation=operation,
                actor=actor,
                resource=resource,
                since=since,
                until=until,
                refused=refused,
                page_token=token,
            )
            return page.entries, page.next_page_token

        return Stream(pages(fetch))

    async def verify(
        self, *, on_progress: OnProgress | None = None, timeout_secs: float | None = None
    ) -> pb.VerifyAuditResponse:
        """Check the whole log, call by call; what all of them found.

        `timeout_secs` is each call's.

        The contract (AuditService.VerifyAudit): Walks every chain and says whether any entry was
        changed, removed or moved since it was written. A call checks at most 100,000 entries; go on
        with `next_page_token` until it is empty. Entries that come meanwhile, and those that
        retention cuts meanwhile, disturb nothing.
        """
        whole = pb.VerifyAuditResponse(ok=True)
        token = ""
        while True:
            request = pb.VerifyAuditRequest(page_token=token)
            part = await self._caller.unary(
                self._stub.VerifyAudit, request, timeout_secs=timeout_secs
            )
            whole.ok = whole.ok and part.ok
            whole.checked += part.checked
            whole.chains += part.chains
            whole.cut += part.cut
            whole.faults.extend(part.faults[: FAULTS_MAX - len(whole.faults)])
            if on_progress is not None:
                on_progress(whole)
            token = part.next_page_token
            if not token:
                return whole
