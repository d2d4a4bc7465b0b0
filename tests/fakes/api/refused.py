"""An error of the controller in memory, with the details that the contract promises."""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.rpc import error_details_pb2, status_pb2


class Refused(Exception):
    """An error with the contract's details."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        violations: Iterable[tuple[str, str]] = (),
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.violations, self.metadata = list(violations), metadata

    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain="kronforce", metadata=self.metadata
        )
        status.details.add().Pack(info)
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for name, description in self.violations:
                bad.field_violations.add(field=name, description=description)
            status.details.add().Pack(bad)
        return status
