"""The quick reader and the strict one mean the same, and instants are protobuf's own text."""

import copy

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kronforce.v1.job_pb2 import Job
from kronforce_client import dialect
from kronforce_client.dialect import DialectError
from kronforce_client.dialect.filling import NOT_PLAIN, filler_of
from kronforce_client.dialect.reading import read
from kronforce_client.dialect.times import fill_timestamp, write_timestamp
from tests.unit.client.messages import message_types, messages

JUNK = st.sampled_from([
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 0.0, 1.5, float("nan"), "", "x", "1", "é",
    "\ud800", "unspecified", "2026-01-01T00:00:00Z", "2026-01-01T24:00:00Z", "1.5s", [], [None],
    ["x"], {}, {"x": 1}, {"type": "noop"}, {"type": None}, {"type": []}, {"value": "x"}, b"x",
    ("x",),
])  # fmt: skip


def outcome(reader, kind, value):
    try:
        return reader(kind, value)
    except DialectError as error:
        return [str(problem) for problem in error.problems]


def mutated(data, plain):
    """Plain data with something changed somewhere."""
    changed = copy.deepcopy(plain)
    at = changed
    while isinstance(at, dict) and at:
        key = data.draw(st.sampled_from(sorted(at)))
        inside = at[key][0] if isinstance(at[key], list) and at[key] else at[key]
        if isinstance(inside, dict) and inside and data.draw(st.booleans()):
            at = inside
            continue
        how = data.draw(st.sampled_from(["replace", "delete", "add", "both"]))
        if how == "delete":
            del at[key]
        elif how == "replace":
            at[key] = data.draw(JUNK)
        else:
            at[data.draw(st.sampled_from(["x", "type", "value", key]))] = data.draw(JUNK)
        break
    return changed


@pytest.mark.parametrize("descriptor", message_types(), ids=lambda each: each.name)
def test_both_readers_mean_the_same_by_anything(descriptor):
    kind = message_factory.GetMessageClass(descriptor)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages(descriptor), st.data())
    def check(message, data):
        value = mutated(data, dialect.render(message, omit_defaults=data.draw(st.booleans())))
        assert outcome(dialect.parse, kind, value) == outcome(read, kind, value)

    check()


def test_a_type_within_itself_is_left_to_the_strict_reader():
    with pytest.raises(NOT_PLAIN):
        filler_of(DescriptorProto.DESCRIPTOR)(
            DescriptorProto(), {"nested_type": [{"nested_type": [{"name": "x"}]}]}
        )
    nested = DescriptorProto(nested_type=[DescriptorProto(name="x")])
    assert dialect.parse(DescriptorProto, dialect.render(nested)) == nested


def test_a_job_as_people_write_it_needs_no_second_reading():
    plain = {
        "name": "x", "tags": ["a"], "labels": {"a": "b"}, "retry_max": 2, "sticky": True,
        "task": {"type": "shell", "command": "echo", "env": {"A": "1"}},
        "schedule": {"type": "cron", "value": "0 * * * * *"}, "target": {"type": "any"},
        "starts_at": "2026-01-01T00:00:00Z", "delivery": "at_most_once", "queue_limit": None,
    }  # fmt: skip
    job = Job()

    filler_of(Job.DESCRIPTOR)(job, plain)

    assert job == read(Job, plain)


INSTANTS = st.integers(-62_135_596_800, 253_402_300_799)
NANOS = st.sampled_from([0, 1, 999, 1_000, 500_000, 1_000_000, 999_999_999]) | st.integers(
    0, 999_999_999
)


@given(INSTANTS, NANOS)
@example(-1, 1)
@example(-62_135_596_800, 0)
@example(253_402_300_799, 999_999_999)
def test_instants_are_written_and_read_as_protobuf_does(seconds, nanos):
    instant = Timestamp(seconds=seconds, nanos=nanos)

    text = write_timestamp(instant)

    assert text == instant.ToJsonString()
    back = Timestamp()
    fill_timestamp(back, text)
    assert back == instant


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00+00:00", "2026-01-01t00:00:00z", "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "2026-01-01", "",
        "0000-01-01T00:00:00Z", "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00Z\n",
    ],
)  # fmt: skip
def test_what_is_not_plainly_an_instant_is_left_to_the_strict_reader(text):
    with pytest.raises(NOT_PLAIN):
        fill_timestamp(Timestamp(), text)
