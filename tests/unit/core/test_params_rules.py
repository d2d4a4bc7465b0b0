"""The limits of a run's input."""

import math

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from kronforce.core.params_rules import params_problems


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


def test_64_levels_are_good_and_one_more_is_not() -> None:
    assert params_problems(nested(64)) == []
    assert [place for place, _ in params_problems(nested(65))] == ["params"]


def test_the_size_is_that_of_the_json() -> None:
    assert params_problems(struct(a="x" * (256 * 1024 - 10))) == []
    assert [place for place, _ in params_problems(struct(a="x" * (256 << 10)))] == ["params"]
    assert params_problems(struct(a="\x01" * 50_000))
