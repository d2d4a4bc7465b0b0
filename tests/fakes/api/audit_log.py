"""The audit log of the fake controller: entries that a test gives, and what checking them finds."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

from kronforce.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc


class FakeAudit(audit_service_pb2_grpc.AuditServiceServicer):
    """Lists what `entries` holds, newest first; checks in as many calls as `parts` has."""

    def __init__(self) -> None:
        self.entries: list[audit_pb2.AuditEntry] = []
        self.parts = [audit_service_pb2.VerifyAuditResponse(ok=True)]
        self.asked: list[audit_service_pb2.ListAuditRequest] = []

    async def ListAudit(self, request, context):
        self.asked.append(request)
        found = [
            entry
            for entry in reversed(self.entries)
            if _fits(request.operation, entry.operation)
            and request.actor in ("", entry.actor, entry.actor_id)
            and entry.refused >= request.refused
        ]
        start, size = int(request.page_token or 0), request.page_size or 100
        return audit_service_pb2.ListAuditResponse(
            entries=found[start : start + size],
            next_page_token=str(start + size) if start + size < len(found) else "",
            total=len(found),
            total_exact=True,
        )

    async def VerifyAudit(self, request, context):
        number = int(request.page_token or 0)
        reply = audit_service_pb2.VerifyAuditResponse()
        reply.CopyFrom(self.parts[number])
        reply.next_page_token = str(number + 1) if number + 1 < len(self.parts) else ""
        return reply


def _fits(pattern: str, operation: str) -> bool:
    if pattern.endswith("*"):
        return operation.startswith(pattern[:-1])
    return pattern in ("", operation)
