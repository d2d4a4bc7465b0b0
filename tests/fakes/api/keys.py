"""The API keys of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import grpc

from kronforce.v1 import api_key_pb2, key_service_pb2, key_service_pb2_grpc
from tests.fakes.api.refused import Refused
from tests.fakes.api.state import State, new_id, now, page


class FakeKeys(key_service_pb2_grpc.KeyServiceServicer):
    """Keeps them; none but `KEY` opens anything."""

    def __init__(self, shared: State) -> None:
        self._shared = shared

    async def CreateKey(self, request, context):
        key = api_key_pb2.ApiKey()
        key.CopyFrom(request.key)
        key.id, key.prefix = new_id(), "kf_abcdefgh"
        if key.surface and not key.role:
            key.role = api_key_pb2.ROLE_VIEWER
        key.created_at.CopyFrom(now())
        self._shared.keys[key.id] = key
        return key_service_pb2.CreateKeyResponse(key=key, secret="kf_abcdefgh" + "x" * 32)

    async def ListKeys(self, request, context):
        rows, token = page(list(self._shared.keys.values()), request)
        return key_service_pb2.ListKeysResponse(keys=rows, next_page_token=token)

    async def RevokeKey(self, request, context):
        for key in self._shared.keys.values():
            if request.key_id in (key.id, key.name):
                key.revoked_at.CopyFrom(now())
                return key
        raise Refused(grpc.StatusCode.NOT_FOUND, "KEY_NOT_FOUND", "there is no such key")

    async def WhoAmI(self, request, context):
        key = api_key_pb2.ApiKey(
            id=new_id(), name="admin", role=self._shared.role, prefix="kf_aaaaaaaa"
        )
        return key_service_pb2.WhoAmIResponse(key=key, permissions=["jobs.read", "jobs.write"])
