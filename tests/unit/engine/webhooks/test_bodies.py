"""What of a delivery's body becomes a run's params."""

import json
from contextlib import suppress

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.params_rules import JSON_BYTES_MAX
from kronforce.engine.webhooks.bodies import params_in
from kronforce.errors import InvalidArgument
from kronforce.v1.webhook_pb2 import (
    WEBHOOK_BODY_ENVELOPE,
    WEBHOOK_BODY_IGNORED,
    WEBHOOK_BODY_PARAMS,
)

WAYS = (WEBHOOK_BODY_ENVELOPE, WEBHOOK_BODY_PARAMS, WEBHOOK_BODY_IGNORED)
EVENT = {"ref": "refs/heads/main", "forced": False, "commits": [{"id": "1"}]}


def params(body, body_as=WEBHOOK_BODY_ENVELOPE, declared=None):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = params_in(raw, body_as, declared)
    return None if found is None else MessageToDict(found)


def refusal(body, body_as=WEBHOOK_BODY_ENVELOPE):
    with pytest.raises(InvalidArgument) as refused:
        params(body, body_as)
    return [violation.field for violation in refused.value.violations]


def test_an_envelope_holds_params():
    assert params({"params": {"day": "x", "n": 3}}) == {"day": "x", "n": 3.0}


@pytest.mark.parametrize("body", [b"", b" \r\n", {}, {"params": None}])
def test_nothing_gives_the_defaults(body):
    assert params(body) is None


@pytest.mark.parametrize(
    "name", ["force", "skip_deps", "target", "targets", "priority", "job_id", "request_id", "x"]
)
def test_an_envelope_takes_nothing_else(name):
    assert refusal({"params": {}, name: True}) == [name]


def test_a_field_that_no_message_can_hold_is_named_as_far_as_it_can():
    assert refusal(b'{"\\ud800": 1}') == ["?"]
    assert refusal({"x" * 10_000: 1}) == ["x" * 100]


def test_what_would_all_be_params_is_measured_before_it_is_read():
    large = b"[" * (JSON_BYTES_MAX + 1)
    with pytest.raises(InvalidArgument, match="262,145 bytes"):
        params(large)
    with pytest.raises(InvalidArgument, match="262,145 bytes"):
        params(large, WEBHOOK_BODY_PARAMS)
    picked = json.dumps({"ref": "main", "x": "y" * JSON_BYTES_MAX}).encode()
    assert params(picked, WEBHOOK_BODY_PARAMS, {"ref"}) == {"ref": "main"}


@given(st.binary(max_size=100), st.sampled_from(WAYS), st.none() | st.just({"x"}))
def test_whatever_comes_is_params_or_refused(body, body_as, declared):
    with suppress(InvalidArgument):
        params_in(body, body_as, declared)


def test_a_refusal_names_few_of_many_wrong_fields():
    assert len(refusal({f"x{n}": n for n in range(100)})) == 5


def test_the_whole_body_may_be_the_params():
    assert params(EVENT, WEBHOOK_BODY_PARAMS) == EVENT


def test_of_a_whole_body_declared_parameters_are_taken():
    assert params(EVENT, WEBHOOK_BODY_PARAMS, {"ref", "other"}) == {"ref": "refs/heads/main"}


def test_an_ignored_body_may_be_anything():
    for body in (b"\x00\xff", b"{", EVENT, {"force": True}):
        assert params(body, WEBHOOK_BODY_IGNORED) is None


@pytest.mark.parametrize("body_as", [WEBHOOK_BODY_ENVELOPE, WEBHOOK_BODY_PARAMS])
@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b"null", b"[]", b'"text"', b"1", b'{"params": {}, "params": {}}', b"a=b"],
)
def test_what_is_no_object_is_refused_by_name(body, body_as):
    [field] = refusal(body, body_as)
    assert field in ("body", "params")


@pytest.mark.parametrize("wrong", [[], "text", 1, True])
def test_params_must_be_an_object(wrong):
    assert refusal({"params": wrong}) == ["params"]


def test_deep_and_large_numbers_are_refused_by_place():
    deep = b'{"params":' * 100 + b"{}" + b"}" * 100
    assert refusal(deep)
    assert refusal({"params": {"n": 2**60}}) == ["params"]
