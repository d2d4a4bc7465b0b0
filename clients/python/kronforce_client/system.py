"""The controller itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronforce.v1 import system_service_pb2 as pb
from kronforce.v1.system_service_pb2_grpc import SystemServiceStub
from kronforce_client.calls import Caller

if TYPE_CHECKING:
    from kronforce.v1.system_service_pb2_grpc import SystemServiceAsyncStub


class System:
    """`kf.system`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: SystemServiceAsyncStub = SystemServiceStub(caller.channel)

    async def health(self, *, timeout_secs: float | None = None) -> pb.GetHealthResponse:
        """Whether it serves; needs no key."""
        request = pb.GetHealthRequest()
        return await self._caller.unary(self._stub.GetHealth, request, timeout_secs=timeout_secs)

    async def status(self, *, timeout_secs: float | None = None) -> pb.GetStatusResponse:
        """Agents, what waits longest, disk."""
        request = pb.GetStatusRequest()
        return await self._caller.unary(self._stub.GetStatus, request, timeout_secs=timeout_secs)

    async def rotate_secret_key(
        self, *, timeout_secs: float | None = None
    ) -> pb.RotateSecretKeyResponse:
        """Write every secret anew under a new key; returns when that is done.

        The contract (SystemService.RotateSecretKey): Makes a new key for what the store keeps
        encrypted and writes every secret anew under it, while everything goes on. The key before it
        is destroyed when nothing needs it any more.
        """
        return await self._caller.unary(
            self._stub.RotateSecretKey,
            pb.RotateSecretKeyRequest(),
            timeout_secs=timeout_secs,
            idempotent=False,
        )
