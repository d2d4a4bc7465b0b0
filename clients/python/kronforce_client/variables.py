"""Variables and secrets: values that tasks name instead of holding them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from kronforce.v1 import variable_service_pb2 as pb
from kronforce.v1.variable_pb2 import Variable
from kronforce.v1.variable_service_pb2_grpc import VariableServiceStub
from kronforce_client.calls import Caller
from kronforce_client.errors import Conflict, NotFound
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.variable_service_pb2_grpc import VariableServiceAsyncStub


class Variables:
    """`kf.variables`. Every `variable` takes an id or an exact name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: VariableServiceAsyncStub = VariableServiceStub(caller.channel)

    async def get(self, variable: str, *, timeout_secs: float | None = None) -> Variable:
        """One variable; never a secret's value."""
        request = pb.GetVariableRequest(variable_id=variable)
        return await self._caller.unary(self._stub.GetVariable, request, timeout_secs=timeout_secs)

    async def page(
        self,
        *,
        search: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListVariablesResponse:
        """One page of variables, by name; `search` is any part of a name, in any case."""
        request = pb.ListVariablesRequest(search=search, page_size=page_size, page_token=page_token)
        return await self._caller.unary(
            self._stub.ListVariables, request, timeout_secs=timeout_secs
        )

    def list(self, *, search: str = "") -> Stream[Variable]:
        """Every variable that the key may see, by name, fetched page by page."""

        async def fetch(token: str) -> tuple[Sequence[Variable], str]:
            page = await self.page(search=search, page_token=token)
            return page.variables, page.next_page_token

        return Stream(pages(fetch))

    async def create(
        self,
        name: str,
        value: str,
        *,
        secret: bool = False,
        description: str = "",
        allowed_groups: Sequence[str] = (),
        expires_at: datetime | None = None,
        expires_in_days: int | None = None,
        timeout_secs: float | None = None,
    ) -> Variable:
        """Make a variable, or with `secret` one that is never shown again.

        The contract (VariableService.CreateVariable): Makes a variable. A name that is taken is
        NAME_TAKEN.
        """
        variable = Variable(
            name=name,
            value=value,
            secret=secret,
            description=description,
            allowed_groups=allowed_groups,
            expires_at=timestamp(expires_at),
            expires_in_days=expires_in_days,
        )
        return await self._caller.unary(
            self._stub.CreateVariable,
            pb.CreateVariableRequest(variable=variable),
            timeout_secs=timeout_secs,
            idempotent=False,
        )

    async def update(
        self, variable: str, change: Variable, fields: Sequence[str] = (),
        *, timeout_secs: float | None = None,
    ) -> Variable:  # fmt: skip
        """Change these fields; without any, all that can be. With `change.etag` only that one.

        The contract (VariableService.UpdateVariable): Changes the fields that `update_mask` names;
        without a mask all of them. Attempts that are assigned afterwards get the new value.
        """
        request = pb.UpdateVariableRequest(
            variable_id=variable, variable=change, update_mask=FieldMask(paths=fields)
        )
        return await self._caller.unary(
            self._stub.UpdateVariable, request, timeout_secs=timeout_secs, idempotent=False
        )

    async def set(
        self,
        name: str,
        value: str | None = None,
        *,
        secret: bool | None = None,
        description: str | None = None,
        allowed_groups: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        expires_in_days: int | None = None,
        timeout_secs: float | None = None,
    ) -> Variable:
        """Make it so, whether it exists or not; what is None stays as it is.

        A value may be left out only where there is one.

        The contract (VariableService.CreateVariable): Makes a variable. A name that is taken is
        NAME_TAKEN.
        """
        given = {
            "value": value,
            "secret": secret,
            "description": description,
            "allowed_groups": allowed_groups,
            "expires_at": timestamp(expires_at),
            "expires_in_days": expires_in_days,
        }
        wanted = {field: content for field, content in given.items() if content is not None}
        change = Variable(**wanted)  # type: ignore[arg-type]  # each of its own field's type
        try:
            return await self.update(name, change, [*wanted], timeout_secs=timeout_secs)
        except NotFound:
            if value is None:
                raise
        change.name = name
        request = pb.CreateVariableRequest(variable=change)
        try:
            return await self._caller.unary(
                self._stub.CreateVariable, request, timeout_secs=timeout_secs, idempotent=False
            )
        except Conflict as error:
            if error.reason != "NAME_TAKEN":
                raise
        # Somebody else was quicker; where the key may not see theirs, this says so.
        return await self.update(name, change, [*wanted], timeout_secs=timeout_secs)

    async def delete(
        self, variable: str, *, force: bool = False, timeout_secs: float | None = None
    ) -> None:
        """Delete it; `force` also where jobs name it.

        The contract (VariableService.DeleteVariable): Deletes a variable. With jobs that name it,
        IN_USE and their names, unless `force` says so.
        """
        request = pb.DeleteVariableRequest(variable_id=variable, force=force)
        await self._caller.unary(
            self._stub.DeleteVariable, request, timeout_secs=timeout_secs, idempotent=False
        )
