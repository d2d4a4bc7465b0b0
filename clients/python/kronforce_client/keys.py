"""API keys: who is calling."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from kronforce.v1 import key_service_pb2 as pb
from kronforce.v1.api_key_pb2 import ApiKey, Role
from kronforce.v1.key_service_pb2_grpc import KeyServiceStub
from kronforce.v1.options_pb2 import Surface
from kronforce_client.calls import Caller
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.key_service_pb2_grpc import KeyServiceAsyncStub


class Keys:
    """`kf.keys`. Every `key` takes an id or an exact name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: KeyServiceAsyncStub = KeyServiceStub(caller.channel)

    async def create(
        self,
        name: str,
        role: Role.ValueType = Role.ROLE_UNSPECIFIED,
        *,
        allowed_groups: Sequence[str] = (),
        allowed_networks: Sequence[str] = (),
        expires_at: datetime | None = None,
        surface: Surface.ValueType = Surface.SURFACE_UNSPECIFIED,
        timeout_secs: float | None = None,
    ) -> pb.CreateKeyResponse:
        """A new key; its secret is in this reply and nowhere else.

        With `surface` SURFACE_MCP it is for an AI client alone, and a viewer's without a role.

        The contract (KeyService.CreateKey): Makes a key. Its secret is in this reply and nowhere
        else.
        """
        key = ApiKey(
            name=name,
            role=role,
            allowed_groups=allowed_groups,
            allowed_networks=allowed_networks,
            expires_at=timestamp(expires_at),
            surface=surface,
        )
        request = pb.CreateKeyRequest(key=key)
        return await self._caller.unary(
            self._stub.CreateKey, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def page(
        self, *, page_size: int = 100, page_token: str = "", timeout_secs: float | None = None
    ) -> pb.ListKeysResponse:
        """One page of keys, newest first; never a secret."""
        request = pb.ListKeysRequest(page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListKeys, request, timeout_secs=timeout_secs)

    def list(self) -> Stream[ApiKey]:
        """Every key, newest first, fetched page by page as they are read."""

        async def fetch(token: str) -> tuple[Sequence[ApiKey], str]:
            page = await self.page(page_token=token)
            return page.keys, page.next_page_token

        return Stream(pages(fetch))

    async def revoke(self, key: str, *, timeout_secs: float | None = None) -> ApiKey:
        """Revoke a key, for good.

        The contract (KeyService.RevokeKey): Revokes a key, for good: its calls are refused and its
        streams end at once (on other controllers within seconds). Revoking again changes nothing.
        The last admin key that works is refused with IN_USE.
        """
        request = pb.RevokeKeyRequest(key_id=key)
        return await self._caller.unary(
            self._stub.RevokeKey, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def whoami(self, *, timeout_secs: float | None = None) -> pb.WhoAmIResponse:
        """Whose key this is and what it may do."""
        return await self._caller.unary(
            self._stub.WhoAmI, pb.WhoAmIRequest(), timeout_secs=timeout_secs
        )
