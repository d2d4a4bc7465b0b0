"""The limits of a run's input."""

import json
import math

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from kronforce.core.params_rules import DEPTH_MAX, is_too_deep, params_problems
from kronforce.v1.agent_service_pb2 import Assignment, ConnectResponse, ControllerMessage
from kronforce.v1.audit_pb2 import AuditEntry
from kronforce.v1.audit_service_pb2 import ListAuditResponse
from kronforce.v1.execution_service_pb2 import ListRunsResponse
from kronforce.v1.run_pb2 import Run
from kronforce_client import dialect
from kronforce_client.dialect import DialectError
from kronforce_client.dialect.known import FREE_DEPTH


def struct(**fields: object) -> Struct:
    return ParseDict(fields, Struct())


def nested(depth: int) -> Struct:
    params = inner = Struct()
    for _ in range(depth - 2):
        inner = inner.fields["a"].struct_value
    inner.fields["a"].number_value = 1
    return params


def test_ordinary_json_is_good() -> None:
    good = struct(a=1, b=-0.5, c=[None, True, {"d": "x"}], e={}, f=2**53)
    assert params_problems(good) == []
    assert params_problems(Struct()) == []


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2.0**53 + 2, -1e300])
def test_numbers_that_json_cannot_carry_are_named_by_their_place(number: float) -> None:
    params = Struct()
    first = params.fields["a"].list_value.values.add()
    first.struct_value.fields["b"].number_value = number
    assert [place for place, _ in params_problems(params)] == ["params.a[0].b"]


def test_a_value_of_no_kind_is_refused() -> None:
    params = Struct()
    params.fields["a"].SetInParent()
    assert [place for place, _ in params_problems(params)] == ["params.a"]


def test_so_many_levels_are_good_and_one_more_is_not() -> None:
    assert params_problems(nested(DEPTH_MAX)) == []
    assert [place for place, _ in params_problems(nested(DEPTH_MAX + 1))] == ["params"]


def test_outputs_are_too_deep_where_params_are() -> None:
    assert not is_too_deep(Struct())
    assert not is_too_deep(nested(DEPTH_MAX))
    assert is_too_deep(nested(DEPTH_MAX + 1))
    assert is_too_deep(struct(a=[{"b": json.loads("[" * 40 + "]" * 40)}]))


def test_the_form_that_people_write_nests_as_deep() -> None:
    assert FREE_DEPTH == DEPTH_MAX
    deep: dict[str, object] = {}
    for _ in range(FREE_DEPTH - 2):
        deep = {"a": deep}
    assert params_problems(dialect.parse(Struct, {"a": deep})) == []
    with pytest.raises(DialectError, match="deeper"):
        dialect.parse(Struct, {"a": {"a": {"a": deep}}})


@pytest.mark.parametrize("list_of", [True, False])
def test_whatever_is_let_in_travels_in_every_message_that_carries_it(list_of: bool) -> None:
    value: object = 1
    for _ in range(DEPTH_MAX - 2):
        value = [value] if list_of else {"a": value}
    free = struct(a=value)
    assert params_problems(free) == []
    for carrier in (
        ConnectResponse(messages=[ControllerMessage(assignment=Assignment(params=free))]),
        ListRunsResponse(runs=[Run(params=free, outputs=free)]),
        ListAuditResponse(entries=[AuditEntry(before=struct(params={"x": [MessageToDict(free)]}))]),
    ):
        assert type(carrier).FromString(carrier.SerializeToString()) == carrier


def test_the_size_is_that_of_the_json() -> None:
    assert params_problems(struct(a="x" * (256 * 1024 - 10))) == []
    assert [place for place, _ in params_problems(struct(a="x" * (256 << 10)))] == ["params"]
    assert params_problems(struct(a="\x01" * 50_000))
