"""Parameters: what a job may declare, and what a run may give."""

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.job_rules import validate_job
from kronforce.core.parameters import Parameters
from kronforce.core.params_text import KeyTemplate, text_of
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import Job

TYPES = {
    "text": "PARAM_TYPE_TEXT",
    "number": "PARAM_TYPE_NUMBER",
    "select": "PARAM_TYPE_SELECT",
    "boolean": "PARAM_TYPE_BOOLEAN",
}


def job(*parameters, command="true", **fields):
    declared = [
        {**each, "param_type": TYPES[each["param_type"]]} if "param_type" in each else each
        for each in parameters
    ]
    content = {"name": "etl", "task": {"shell": {"command": command}}, "parameters": declared}
    return ParseDict(content | fields, Job())


def problems(*parameters, **fields):
    return dict(validate_job(job(*parameters, **fields)))


def fill(given, *parameters):
    return MessageToDict(Parameters(job(*parameters).parameters).fill(ParseDict(given, Struct())))


def refused(given, *parameters):
    with pytest.raises(InvalidArgument) as caught:
        fill(given, *parameters)
    return {each.field: each.description for each in caught.value.violations}


DAY = {"name": "day"}
COUNT = {"name": "count", "param_type": "number"}
COLOUR = {
    "name": "colour",
    "param_type": "select",
    "options": ["red", {"value": "blue", "label": "Blue sky"}],
}
DRY = {"name": "dry", "param_type": "boolean"}


@pytest.mark.parametrize(
    ("given", "declared", "filled"),
    [
        ({"day": "monday"}, DAY, {"day": "monday"}),
        ({"day": 5}, DAY, {"day": "5"}),
        ({"day": True}, DAY, {"day": "true"}),
        ({"day": ""}, DAY, {"day": ""}),
        ({"day": None}, DAY, {}),
        ({}, DAY, {}),
        ({}, {**DAY, "default": "friday"}, {"day": "friday"}),
        ({"day": None}, {**DAY, "default": "friday"}, {"day": "friday"}),
        ({"count": 2.5}, COUNT, {"count": 2.5}),
        ({"count": " -3e2 "}, COUNT, {"count": -300.0}),
        ({"colour": "blue"}, COLOUR, {"colour": "blue"}),
        ({"dry": False}, DRY, {"dry": False}),
        ({"dry": "TRUE"}, DRY, {"dry": True}),
    ],
)
def test_a_value_takes_its_parameters_form(given, declared, filled):
    assert fill(given, declared) == filled


@pytest.mark.parametrize(
    ("given", "declared", "what"),
    [
        ({"day": ["a"]}, DAY, "a list; give text"),
        ({"day": "a\0b"}, DAY, "NUL"),
        ({"count": "many"}, COUNT, '"many"; give a number'),
        ({"count": "0x10"}, COUNT, "give a number"),
        ({"count": "1e999"}, COUNT, "inf"),
        ({"count": 2**60}, COUNT, "2^53"),
        ({"count": True}, COUNT, "give a number"),
        ({"colour": "Blue sky"}, COLOUR, "give one of blue, red"),
        ({"dry": "yes"}, DRY, "give true or false"),
        ({"dry": 1}, DRY, "give true or false"),
        ({"days": "x"}, {**DAY, "name": "days", "param_type": "number"}, "give a number"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_to_give(given, declared, what):
    [(field, description)] = refused(given, declared).items()
    assert field == f"params.{declared['name']}"
    assert what in description


def test_each_wrong_field_has_a_violation_of_its_own():
    wrong = refused({"count": "x", "typo": 1}, COUNT, {**DAY, "required": True})
    assert set(wrong) == {"params.count", "params.typo", "params.day"}
    assert "it takes count, day" in wrong["params.typo"]
    assert wrong["params.day"] == "is required"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
GIVEN = st.dictionaries(st.sampled_from(["day", "count", "colour", "dry", "typo"]), JSON)


@given(GIVEN)
def test_whatever_is_given_is_refused_by_field_or_filled_for_good(given_values):
    declared = Parameters(job({**DAY, "default": "x"}, COUNT, COLOUR, DRY).parameters)
    struct = Struct()
    struct.update(given_values)
    try:
        filled = declared.fill(struct)
    except InvalidArgument as error:
        fields = [each.field for each in error.violations]
    else:
        fields = []
    if fields:
        assert all(field.startswith("params") for field in fields)
        return
    assert set(filled.fields) <= declared.names
    assert declared.fill(filled) == filled


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ({"name": "1st"}, "parameters[0].name"),
        ({"name": "a-b"}, "parameters[0].name"),
        ({"name": "x" * 101}, "parameters[0].name"),
        ({**DAY, "description": "x" * 1_001}, "parameters[0].description"),
        ({**DAY, "options": ["a"]}, "parameters[0].options"),
        ({**COLOUR, "options": []}, "parameters[0].options"),
        ({**COLOUR, "options": ["a", "a"]}, "parameters[0].options[1]"),
        ({**COLOUR, "options": [5]}, "parameters[0].options[0]"),
        ({**COLOUR, "options": [{"label": "a"}]}, "parameters[0].options[0]"),
        ({**COLOUR, "default": "green"}, "parameters[0].default"),
        ({**COUNT, "default": "many"}, "parameters[0].default"),
        ({**COUNT, "default": 2**60}, "parameters[0].default"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_named_by_field(declared, field):
    assert list(problems(declared)) == [field]


def test_a_name_is_declared_once():
    assert "twice" in problems(DAY, DAY)["parameters[1].name"]


def test_what_a_schedule_cannot_give_needs_a_default():
    every_minute = {"cron": "0 * * * * *"}
    needed = {**DAY, "required": True}
    assert problems(needed) == {}
    assert "parameters[0].default" in problems(needed, schedule=every_minute)
    assert problems({**needed, "default": "x"}, schedule=every_minute) == {}
    assert problems(needed, schedule={"on_demand": {}}) == {}


def test_what_names_a_parameter_that_is_not_declared_is_refused():
    assert "{{params.dya}}" in problems(DAY, command="echo {{params.dya}}")["task"]
    assert problems(command="echo {{params.anything}}") == {}
    assert "concurrency_key" in problems(DAY, concurrency_key="{{params.dya}}")


def test_a_concurrency_key_holds_parameters_alone_and_is_short():
    assert "only parameters" in problems(concurrency_key="{{TENANT}}")["concurrency_key"]
    assert "at most 200" in problems(concurrency_key="x" * 201)["concurrency_key"]
    long = {**DAY, "default": "x" * 201}
    assert "defaults" in problems(long, concurrency_key="{{params.day}}")["concurrency_key"]


def test_a_concurrency_key_is_filled_once_and_what_has_no_value_is_nothing():
    key = KeyTemplate("{{params.a}}/{{ params.b }}/{{params.c}}")
    given = ParseDict({"a": "{{params.b}}", "b": 7}, Struct())
    assert key.fill(given) == "{{params.b}}/7/"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a b"),
        (5, "5"),
        (2.5, "2.5"),
        (True, "true"),
        (None, ""),
        ([1, "x", None], '[1,"x",null]'),
        ({"b": 1, "a": [True]}, '{"a":[true],"b":1}'),
    ],
)
def test_a_value_as_text(value, text):
    assert text_of(ParseDict(value, Value())) == text
