# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""VariableService: values that tasks name. A secret's value never leaves through here."""

from __future__ import annotations

from typing import Any

from kronforce.api.call import Call
from kronforce.api.convert.variable import variable_message
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.clock import Clock
from kronforce.core.variable_rules import warnings_about
from kronforce.engine.values.changes import require
from kronforce.engine.values.variables import Variables
from kronforce.security.secret import MASK
from kronforce.store import variables as stored
from kronforce.store.store import Store
from kronforce.v1 import variable_service_pb2 as pb
from kronforce.v1 import variable_service_pb2_grpc
from kronforce.v1.variable_pb2 import Variable

_BY_NAME: Shape = (str,)


class VariableServicer(variable_service_pb2_grpc.VariableServiceServicer):
    """Thin: use cases change, store functions read."""

    def __init__(self, *, store: Store, clock: Clock, variables: Variables) -> None:
        self._store = store
        self._clock = clock
        self._variables = variables

    async def CreateVariable(self, request: pb.CreateVariableRequest, call: Call) -> Variable:
        row = await self._variables.create(call.scope, call.principal, request.variable)
        return self._changed(row, request.variable)

    async def GetVariable(self, request: pb.GetVariableRequest, call: Call) -> Variable:
        row = await self._store.read(require, call.scope, request.variable_id)
        return variable_message(row, self._clock.now_us())

    async def ListVariables(
        self, request: pb.ListVariablesRequest, call: Call
    ) -> pb.ListVariablesResponse:
        page = await self._store.read(
            stored.list_variables,
            call.scope,
            search=request.search or None,
            page=read_page(request, _BY_NAME),
        )
        now = self._clock.now_us()
        return pb.ListVariablesResponse(
            variables=[variable_message(row, now) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def UpdateVariable(self, request: pb.UpdateVariableRequest, call: Call) -> Variable:
        row = await self._variables.update(
            call.scope,
            call.principal,
            request.variable_id,
            request.variable,
            request.update_mask.paths,
        )
        return self._changed(row, request.variable)

    async def DeleteVariable(
        self, request: pb.DeleteVariableRequest, call: Call
    ) -> pb.DeleteVariableResponse:
        await self._variables.delete(
            call.scope, call.principal, request.variable_id, force=request.force
        )
        return pb.DeleteVariableResponse()

    def _changed(self, row: stored.VariableRow, given: Any) -> Variable:
        """The reply to a change: with what its author should know of the value just given."""
        message = variable_message(row, self._clock.now_us())
        if given.value and given.value != MASK:
            message.warnings.extend(warnings_about(given.value, secret=row.secret))
        return message
