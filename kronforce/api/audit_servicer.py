# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""AuditService: the log is read and checked; nothing here writes it."""

from __future__ import annotations

import re

from kronforce.api.call import Call
from kronforce.api.convert.audit import audit_message, checked_message, place_of
from kronforce.api.convert.instants import instant_us
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.engine.audit_log import AuditLog
from kronforce.errors import InvalidArgument
from kronforce.store import audit
from kronforce.store.audit import AuditFilter
from kronforce.store.store import Store
from kronforce.v1 import audit_service_pb2 as pb
from kronforce.v1 import audit_service_pb2_grpc

PATTERN_MAX = 100
_PATTERN = re.compile(r"[a-z0-9_.]*\*?")

# The sort key of ListAudit: instant and row.
_BY_INSTANT: Shape = (int, int)


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Thin: the store reads, the engine checks."""

    def __init__(self, *, store: Store, audit_log: AuditLog) -> None:
        self._store = store
        self._audit_log = audit_log

    async def ListAudit(self, request: pb.ListAuditRequest, call: Call) -> pb.ListAuditResponse:
        page = await self._store.read(
            audit.list_audit, filters=_filters(request), page=read_page(request, _BY_INSTANT)
        )
        return pb.ListAuditResponse(
            entries=[audit_message(row) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def VerifyAudit(
        self, request: pb.VerifyAuditRequest, call: Call
    ) -> pb.VerifyAuditResponse:
        return checked_message(await self._audit_log.verify(place_of(request.page_token)))


def _filters(request: pb.ListAuditRequest) -> AuditFilter:
    pattern = request.operation
    if len(pattern) > PATTERN_MAX or not _PATTERN.fullmatch(pattern):
        raise InvalidArgument.of(
            ("operation", f"{pattern[:PATTERN_MAX]!r} is no pattern; use job.updated or job.*")
        )
    return AuditFilter(
        operation=pattern or None,
        actor=request.actor or None,
        resource=request.resource or None,
        since=instant_us(request.since) if request.HasField("since") else None,
        until=instant_us(request.until) if request.HasField("until") else None,
        refused=request.refused,
    )
