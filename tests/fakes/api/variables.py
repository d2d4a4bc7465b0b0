"""The variables of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import uuid

import grpc

from kronforce.v1 import variable_pb2, variable_service_pb2, variable_service_pb2_grpc
from tests.fakes.api.refused import Refused

MASK = "••••••••"


class FakeVariables(variable_service_pb2_grpc.VariableServiceServicer):
    """Keeps them by name; of a secret what was given, masked when it is read."""

    def __init__(self, variables: dict[str, variable_pb2.Variable]) -> None:
        self._variables = variables

    async def CreateVariable(self, request, context):
        made = variable_pb2.Variable()
        made.CopyFrom(request.variable)
        made.id = str(uuid.uuid4())
        if made.HasField("expires_in_days"):
            made.expires_at.GetCurrentTime()
            made.expires_at.seconds += made.expires_in_days * 86_400
            made.ClearField("expires_in_days")
        self._variables[made.name] = made
        return self._shown(made, warns=True)

    async def GetVariable(self, request, context):
        return self._shown(self._find(request.variable_id))

    async def ListVariables(self, request, context):
        found = [self._shown(each) for name, each in sorted(self._variables.items())
                 if request.search.lower() in name.lower()]  # fmt: skip
        return variable_service_pb2.ListVariablesResponse(variables=found, total=len(found))

    async def UpdateVariable(self, request, context):
        found = self._find(request.variable_id)
        for path in request.update_mask.paths:
            found.ClearField(path)
            if path == "allowed_groups":
                found.allowed_groups.extend(request.variable.allowed_groups)
            elif path != "expires_in_days":
                setattr(found, path, getattr(request.variable, path))
        return self._shown(found)

    async def DeleteVariable(self, request, context):
        found = self._find(request.variable_id)
        if found.description == "in use" and not request.force:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                "IN_USE",
                f"variable {found.name!r} is named by etl; delete it with force (--force)",
            )
        del self._variables[found.name]
        return variable_service_pb2.DeleteVariableResponse()

    def _find(self, ref: str) -> variable_pb2.Variable:
        if ref not in self._variables:
            raise Refused(grpc.StatusCode.NOT_FOUND, "VARIABLE_NOT_FOUND", f"no variable {ref!r}")
        return self._variables[ref]

    def _shown(self, variable, *, warns=False):
        shown = variable_pb2.Variable()
        shown.CopyFrom(variable)
        if variable.secret:
            shown.value = MASK
            if warns and len(variable.value) < 4:
                shown.warnings.append("it is shorter than 4 bytes, so it is not masked in output")
        return shown
