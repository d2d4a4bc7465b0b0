"""Every request and every reply of the contract survives HTTP, through the gateway's own reader and
writer; and where our rules and protobuf's canonical mapping agree, so do the bytes."""

from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kronforce_gateway import kept_json
from kronforce_gateway.bindings import Binding, bindings_of
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.replies import encode
from kronforce_gateway.requests import MASK, read_request
from tests.contract.http.asgi import Answer
from tests.contract.http.over_http import HttpCall, http_calls, reply_of
from tests.unit.client.messages import message_types, messages

BINDINGS = [each for each in bindings_of(SERVICES) if not each.method.server_streaming]
EXAMPLES = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
# What text in a query can say: one value, or several of one kind.
SAID_BY_TEXT = {"google.protobuf.Timestamp", "google.protobuf.FieldMask"}


def named(binding: Binding) -> str:
    return f"{binding.verb} {binding.path}"


@pytest.mark.parametrize("binding", BINDINGS, ids=named)
def test_a_request_arrives_as_it_was_sent(binding: Binding) -> None:
    @EXAMPLES
    @given(messages(binding.method.input_type))
    def check(request: Any) -> None:
        sayable(binding, request)
        sent = [call for call in http_calls(binding.method, request) if call.verb == binding.verb]
        assume(sent)
        found = [of_call(binding, call, request) for call in sent]
        assert request in found

    check()


def of_call(binding: Binding, call: HttpCall, request: Message) -> Message | None:
    """What the gateway reads of it, if it is for this route."""
    path, _, query = call.path.partition("?")
    pattern, segments = binding.path.split("/"), path.split("/")
    if len(pattern) != len(segments):
        return None
    pairs = list(zip(pattern, segments, strict=True))
    if any(want != have for want, have in pairs if not want.startswith("{")):
        return None
    values = tuple(unquote(have) for want, have in pairs if want.startswith("{"))
    headers = {name.encode(): value.encode("latin-1") for name, value in call.headers.items()}
    return read_request(binding, values, query.encode(), call.body, headers=headers)


def sayable(binding: Binding, request: Any) -> None:
    """Leave out what HTTP has no way to say, for who speaks gRPC alone."""
    for field in binding.method.input_type.fields:
        in_query = field.name in binding.query.names and field.name != binding.body
        said = field.message_type is None or field.message_type.full_name in SAID_BY_TEXT
        if in_query and (not said or unknown(field, getattr(request, field.name))):
            request.ClearField(field.name)
    for name, _ in binding.headers:
        text = getattr(request, name)
        if not text.isascii() or not text.isprintable() or text != text.strip():
            request.ClearField(name)
    if binding.resource is not None and not binding.takes_list:
        # A body is always there, if only with nothing in it.
        getattr(request, binding.body).SetInParent()
    if binding.verb == "PUT" and MASK in binding.method.input_type.fields_by_name:
        # None at all means every field, which over HTTP has to be said.
        getattr(request, MASK).paths.append("*")
    for path in binding.variables:
        at = request
        for step in path[:-1]:
            at = getattr(at, step)
        setattr(at, path[-1], getattr(at, path[-1]) or "x")


def unknown(field: FieldDescriptor, value: Any) -> bool:
    """A value of an enum that this version has no word for."""
    if field.enum_type is None or field.is_repeated:
        return False
    return value not in field.enum_type.values_by_number


@pytest.mark.parametrize("binding", BINDINGS, ids=named)
def test_a_reply_arrives_as_it_was_given(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random messages share ids and etags, by which encoded ones are kept.
    monkeypatch.setattr(kept_json, "MAX_BYTES", -1)

    @EXAMPLES
    @given(messages(binding.method.output_type), st.integers(0, 3))
    def check(reply: Any, page: int) -> None:
        request: Any = binding.request_class()
        if binding.listed:
            request.page = page
        body = encode(binding, reply, request)
        if page and binding.listed:
            numbers = orjson.loads(body)
            assert [numbers.pop(key) for key in ("page", "per_page")] == [page, 100]
            assert numbers.pop("total_pages") == -(-min(reply.total, 10_000) // 100)
            body = orjson.dumps(numbers)
        sent = HttpCall(verb="", path="", body=b"", response_body=binding.response_body)
        found = reply_of(binding.method, sent, Answer(status=200, headers={}, body=body))
        if binding.response_body:
            for field in binding.method.output_type.fields:
                if field.name != binding.response_body:
                    reply.ClearField(field.name)
        assert found == reply

    check()


# Written alike by both: text, truth, whole numbers of 32 bits, bytes, instants, durations.
_ALIKE = {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_BYTES,
}
_ALIKE_TYPES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}


def alike(kind: Descriptor, above: tuple[str, ...] = ()) -> bool:
    """Whether our rules and the canonical mapping agree on a type, and on all that it holds."""
    if kind.full_name in _ALIKE_TYPES or kind.full_name in above:
        return True
    own_form = kind.full_name.startswith("google.")
    if own_form or any(len(oneof.fields) > 1 for oneof in kind.oneofs):
        return False
    return all(
        alike(field.message_type, (*above, kind.full_name))
        if field.message_type is not None
        else field.type in _ALIKE
        for field in kind.fields
    )


AGREED = [each for each in message_types() if alike(each) and each.fields]


def test_the_two_mappings_agree_on_some_types() -> None:
    assert {"ShellTask", "Variable", "ListAuditRequest"} <= {each.name for each in AGREED}
    assert len(AGREED) > 30


@pytest.mark.parametrize("kind", AGREED, ids=lambda each: each.name)
def test_where_the_canonical_mapping_agrees_so_do_the_bytes(kind: Descriptor) -> None:
    @EXAMPLES
    @given(messages(kind))
    def check(message: Any) -> None:
        ours = orjson.dumps(kept_json.render(message), option=orjson.OPT_SORT_KEYS)
        canonical = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        assert ours == orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS)
        again = GetMessageClass(kind)()
        assert json_format.Parse(ours, again) == message

    check()
