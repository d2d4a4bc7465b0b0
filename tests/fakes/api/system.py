"""How the controller in memory (`api_server.py`) is."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

from kronforce.v1 import system_service_pb2, system_service_pb2_grpc
from tests.fakes.api.state import State, new_id, now


class FakeSystem(system_service_pb2_grpc.SystemServiceServicer):
    """Says that it is well, counts what it has, and gives secrets a new key."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def GetHealth(self, request, context):
        return system_service_pb2.GetHealthResponse(status="ok", version="0.1.0", db_ok=True)

    async def GetStatus(self, request, context):
        return system_service_pb2.GetStatusResponse(
            version="0.1.0",
            started_at=now(),
            store="sqlite",
            jobs=len(self._shared.jobs),
            agents=len(self._shared.agents),
            agents_online=len(self._shared.agents),
            slots=4,
            disk_free_bytes=10 * 2**30,
            oldest_waiting=self._shared.oldest_waiting
            if self._shared.oldest_waiting.job_name
            else None,
        )

    async def RotateSecretKey(self, request, context):
        secrets = sum(each.secret for each in self._shared.variables.values())
        return system_service_pb2.RotateSecretKeyResponse(key_id=new_id(), rewritten=secrets)
