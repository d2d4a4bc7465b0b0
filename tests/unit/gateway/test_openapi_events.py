"""Events are what the OpenAPI document says they are, whatever is told."""

import json

import pytest
from google.protobuf import message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from kronforce_gateway.bindings import bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.live.encoders import encoder_of
from kronforce_gateway.openapi.parameters import path_of
from tests.unit.client.messages import messages
from tests.unit.gateway.test_openapi import OPERATIONS, check

# The number with which random messages say an enum value that no version knows.
UNKNOWN_WORD = "4711"
STREAMS = [each for each in bindings_of(SERVICES) if each.method.server_streaming]


def described(binding):
    responses = OPERATIONS[f"{binding.verb} {path_of(binding)}"]["responses"]
    event = responses["200"]["content"]["text/event-stream"]["schema"]
    return event["properties"]["data"]["contentSchema"]


def told(lines):
    """The data of each event."""
    return [json.loads(each[6:]) for each in lines.decode().split("\n") if each[:6] == "data: "]


@pytest.mark.parametrize("binding", STREAMS, ids=lambda each: f"{each.verb} {each.path}")
@settings(deadline=None, max_examples=60, database=None)
@given(data=st.data())
def test_an_event_is_as_it_is_described(binding, data):
    validator = check(described(binding))
    encoder = encoder_of(binding.method, base64=data.draw(st.booleans()))
    encoder.begin(message_factory.GetMessageClass(binding.method.input_type)(), "")
    frame = data.draw(messages(binding.method.output_type))
    for each in told(b"".join([*encoder.frame(frame), *encoder.rest()])):
        if UNKNOWN_WORD in json.dumps(each):
            continue
        assert [str(error) for error in validator.iter_errors(each)] == []
