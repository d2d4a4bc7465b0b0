"""The JSON Schema of a message says what the dialect says of a document."""

import copy
import functools

import jsonschema_rs
import pytest
from google.protobuf import message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from kronforce.v1.job_pb2 import Job
from kronforce_client import dialect
from kronforce_client.dialect.schema import Notes, schema
from tests.unit.client.messages import message_types, messages

TYPES = message_types()
WRONG = st.sampled_from([True, "x", "", 7, 1.5, [], {}, None, ["x"], {"x": "y"}])


@functools.cache
def validator(descriptor, *, written=False):
    return jsonschema_rs.Draft202012Validator(schema(descriptor, written=written))


def parses(descriptor, document):
    try:
        dialect.parse(message_factory.GetMessageClass(descriptor), document)
    except dialect.DialectError:
        return False
    return True


def places(value, path=()):
    """Where something stands in a document."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def inside(document, path):
    for step in path:
        document = document[step]
    return document


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda each: each.name)
def test_every_schema_is_one(descriptor):
    jsonschema_rs.meta.validate(schema(descriptor))
    jsonschema_rs.meta.validate(schema(descriptor, written=True))


@settings(deadline=None, max_examples=400, database=None)
@given(st.data())
def test_whatever_the_dialect_writes_is_valid(data):
    descriptor = data.draw(st.sampled_from(TYPES))
    message = data.draw(messages(descriptor))
    for omit_defaults in (False, True):
        document = dialect.render(message, omit_defaults=omit_defaults)
        errors = [str(each) for each in validator(descriptor).iter_errors(document)]
        assert errors == []


@settings(deadline=None, max_examples=400, database=None)
@given(st.data())
def test_what_is_written_has_every_key_that_is_always_there_and_no_null(data):
    descriptor = data.draw(st.sampled_from([each for each in TYPES if can_say_all(each)]))
    document = dialect.render(data.draw(messages(descriptor)))
    check = validator(descriptor, written=True)
    assert [str(each) for each in check.iter_errors(document)] == []
    for key in required(descriptor) & document.keys():
        assert not check.is_valid({**document, key: None}), key
        assert not check.is_valid({name: each for name, each in document.items() if name != key})
    assert check.is_valid({**document, "of_a_newer_server": 1})


def required(descriptor):
    """Keys of fields that say something also when they are not set."""
    return {each.name for each in descriptor.fields if not each.has_presence}


@settings(deadline=None, max_examples=800, database=None)
@given(st.data())
def test_a_changed_document_is_valid_exactly_when_it_can_be_read(data):
    descriptor = data.draw(st.sampled_from([each for each in TYPES if can_say_all(each)]))
    document = copy.deepcopy(dialect.render(data.draw(messages(descriptor)), omit_defaults=True))
    path = data.draw(st.sampled_from([each for each in places(document) if each] or [()]))
    parent = inside(document, path[:-1])
    change = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "add" or not path:
        parent = inside(document, path)
        if isinstance(parent, dict):
            parent["brand_new"] = data.draw(WRONG)
    elif change == "replace":
        parent[path[-1]] = data.draw(WRONG)
    elif isinstance(parent, dict):
        del parent[path[-1]]
    assert validator(descriptor).is_valid(document) == parses(descriptor, document)


def can_say_all(descriptor):
    """Whether nothing in it is read by rules that no schema has: those of `Any`."""
    seen, waiting = set(), [descriptor]
    while waiting:
        kind = waiting.pop()
        if kind.full_name == "google.protobuf.Any":
            return False
        inner = [each.message_type for each in kind.fields if each.message_type is not None]
        waiting += [each for each in inner if each.full_name not in seen]
        seen |= {each.full_name for each in inner}
    return True


def test_notes_say_what_descriptors_do_not():
    notes = Notes(
        comments={"kronforce.v1.Job.retry_max": "How often."},
        keywords={"kronforce.v1.Job.retry_max": {"maximum": 3}},
        required=frozenset({"kronforce.v1.Job.name", "kronforce.v1.Task.kind"}),
        closed_enums=True,
    )
    made = schema(Job.DESCRIPTOR, notes)
    check = jsonschema_rs.Draft202012Validator(made)
    assert made["properties"]["retry_max"]["description"] == "How often."
    assert check.is_valid({"name": "a", "task": {"type": "noop"}, "retry_max": 3})
    assert not check.is_valid({"name": "a", "retry_max": 4})
    assert not check.is_valid({"name": None})
    assert not check.is_valid({"name": "a", "task": {}})
    assert not check.is_valid({"name": "a", "delivery": 4711})
