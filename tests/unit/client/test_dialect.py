"""The JSON form of messages, both ways."""

import pytest
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import Int64Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce.v1.agent_service_pb2 import AgentMessage
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import TriggerJobRequest, UpdateJobRequest
from kronforce.v1.run_pb2 import Run
from kronforce_client import dialect
from kronforce_client.dialect import DialectError
from tests.unit.client.messages import FREE_JSON, message_types, messages


def problems(kind, value):
    with pytest.raises(DialectError) as caught:
        dialect.parse(kind, value)
    return [str(each) for each in caught.value.problems]


@pytest.mark.parametrize("descriptor", message_types(), ids=lambda each: each.name)
def test_every_message_of_the_contract_survives_the_round_trip(descriptor):
    kind = message_factory.GetMessageClass(descriptor)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages(descriptor), st.booleans())
    def check(message, omit):
        text = dialect.dumps(dialect.render(message, omit_defaults=omit))
        assert dialect.parse(kind, dialect.loads(text)) == message

    check()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), FREE_JSON, max_size=4))
def test_free_json_comes_back_as_it_was(value):
    assert dialect.render(dialect.parse(Struct, value)) == value


def test_a_tagged_union_stands_inline_or_under_its_content():
    plain = {
        "name": "x",
        "task": {"type": "shell", "command": "echo"},
        "schedule": {"type": "cron", "value": "0 * * * * *"},
        "target": {"type": "local"},
    }
    job = dialect.parse(Job, plain)
    assert job.schedule.cron == "0 * * * * *"
    assert job.target.WhichOneof("kind") == "local"
    assert dialect.render(job, omit_defaults=True) == plain


def test_a_message_arm_with_content_keeps_its_own_fields_there():
    value = {"schedule": {"type": "interval", "value": {"interval_secs": 30}}}
    assert dialect.render(dialect.parse(Job, value), omit_defaults=True) == value


def test_fields_without_presence_always_appear_and_unset_optional_ones_never_do():
    rendered = dialect.render(Job(name="x"))
    assert rendered["retry_max"] == 0
    assert rendered["tags"] == []
    assert rendered["misfire_policy"] == "unspecified"
    assert "kill_grace_secs" not in rendered
    assert "next_fire_at" not in rendered
    assert dialect.render(Job(kill_grace_secs=0))["kill_grace_secs"] == 0


def test_null_is_not_set():
    assert dialect.parse(Job, {"name": "x", "task": None, "tags": None}) == Job(name="x")


def test_numbers_of_64_bits_may_come_as_text():
    assert dialect.parse(Job, {"output_cap_bytes": "7"}).output_cap_bytes == 7
    assert dialect.render(Job(version=2**60))["version"] == 2**60


def test_instants_are_written_in_utc_and_read_with_any_offset():
    stamp = dialect.parse(Timestamp, "2026-11-20T15:03:20.5+01:00")
    assert dialect.render(stamp) == "2026-11-20T14:03:20.500Z"


@pytest.mark.parametrize(
    "text", ["2026-11-20", "14:03", "2026-11-20T14:03:20", "2026-02-30T00:00:00Z"]
)
def test_an_instant_without_a_zone_or_that_does_not_exist_is_refused(text):
    assert "instant" in problems(Timestamp, text)[0]


def test_durations_masks_bytes_and_wrappers_have_their_forms():
    assert dialect.parse(Duration, 1.5) == Duration(seconds=1, nanos=500_000_000)
    assert dialect.parse(Duration, "90s").seconds == 90
    update = dialect.parse(UpdateJobRequest, {"update_mask": "name,tags"})
    assert list(update.update_mask.paths) == ["name", "tags"]
    assert dialect.render(OutputChunk(data=b"\xff"))["data"] == "/w=="
    assert dialect.parse(Int64Value, "5").value == 5


def test_any_shows_the_message_inside():
    packed = Any()
    packed.Pack(Timestamp(seconds=0))
    form = {
        "@type": "type.googleapis.com/google.protobuf.Timestamp",
        "value": "1970-01-01T00:00:00Z",
    }
    assert dialect.render(packed) == form
    assert dialect.parse(Any, form) == packed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"nam": "x"}, 'nam: is not a known field; did you mean "name"?'),
        ({"name": 5}, 'name: must be text, not a whole number; write "5" in quotes'),
        ({"retry_max": "2"}, "retry_max: must be a whole number, not text"),
        ({"retry_max": 2.5}, "retry_max: must be a whole number, not a number"),
        ({"retry_max": True}, "retry_max: must be a whole number, not true or false"),
        ({"retry_max": 2**31}, "retry_max: must be at most 2,147,483,647, not "),
        ({"sticky": "yes"}, "sticky: must be true or false, not text"),
        ({"tags": "x"}, "tags: must be a list, not text"),
        ({"tags": ["a", 2]}, "tags[1]: must be text"),
        ({"labels": {"a": 1}}, "labels.a: must be text"),
        ({"task": {"type": "shell", "env": {"A": 1}}}, "task.env.A: must be text"),
        ({"task": {"type": "shel"}}, 'not "shel"; did you mean "shell"?'),
        ({"task": {"command": "x"}}, 'task: needs "type": one of shell, noop'),
        ({"task": {"type": "noop", "command": "x"}}, "task.command: is not a known field"),
        (
            {"schedule": {"type": "cron", "zone": "UTC"}},
            "schedule.zone: is not a known field; here may stand: type, value",
        ),
        ({"task": {}}, None),
        ({"schedule": {"type": "cron"}}, 'schedule: "cron" needs "value"'),
        ({"schedule": {"type": "cron", "value": 5}}, "schedule.value: must be text"),
        ({"schedule": {"value": "x"}}, 'schedule: needs "type"'),
        ({"delivery": "atmostonce"}, 'did you mean "at_most_once"?'),
        ({"delivery": "DELIVERY_AT_MOST_ONCE"}, "delivery: must be one of"),
        ({"schedule": {"type": "on_demand", "value": 1}}, 'schedule.value: "on_demand" has no'),
    ],
)
def test_what_is_wrong_is_named_with_its_path(value, said):
    if said is None:
        assert dialect.parse(Job, value).HasField("task")
    else:
        assert any(said in each for each in problems(Job, value)), problems(Job, value)


def test_all_mistakes_are_told_at_once_and_not_endlessly():
    assert len(problems(Job, {"a": 1, "b": 2, "name": 3})) == 3
    assert len(problems(Job, {f"x{n}": n for n in range(1000)})) == 50


def test_two_arms_of_a_plain_oneof_are_refused():
    value = {"heartbeat": {}, "accepted": {}}
    assert "only one of them may be set" in problems(AgentMessage, value)[0]


def test_integers_that_a_double_cannot_hold_are_refused_in_free_json():
    said = problems(TriggerJobRequest, {"params": {"n": 2**53 + 1}})
    assert "beyond ±2^53" in said[0]


def test_free_json_deeper_than_readers_follow_is_refused():
    deep = 1
    for _ in range(70):
        deep = [deep]
    assert "deeper than 25" in problems(Struct, {"x": deep})[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "^a: stands twice in one object"),
        ('{"a": {"b": [1, {"c": 1, "d": {}, "c": {"d": 1}}]}}', r"^a\.b\[1\]\.c: stands twice"),
        ('{"a": NaN}', "^a: is NaN"),
        ("[1, -Infinity]", r"^\[1\]: is -Infinity"),
        ('{"a": ' + "1" * 5_000 + "}", "too many digits"),
        ("[" * 65 + "1" + "]" * 65, "deeper than 64"),
        (b"\xff", "not valid UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not valid"),
        ('{"a": ', "line 1 column 7"),
        ("[" * 100 + "]" * 100, "deeper than 64"),
        ("[" * 100_000, "deeper than 64"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(text, said):
    with pytest.raises(DialectError, match=said):
        dialect.loads(text)


def test_text_as_deep_as_allowed_is_read():
    assert dialect.loads("[" * 64 + "]" * 64)
    assert dialect.loads(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_a_number_that_no_double_holds_is_refused():
    assert problems(Job, dialect.loads('{"retry_backoff": 1e999}')) == [
        "retry_backoff: is too large"
    ]


def test_maps_are_written_in_order():
    run = Run(targets_by_state={"succeeded": 1, "failed": 2})
    assert list(dialect.render(run)["targets_by_state"]) == ["failed", "succeeded"]
