"""Random messages of any type of the contract, for round trips."""

import importlib
import pkgutil

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

import kronforce.v1
from kronforce.v1 import job_service_pb2

FILES = tuple(
    importlib.import_module(f"kronforce.v1.{module.name}")
    for module in pkgutil.iter_modules(kronforce.v1.__path__)
    if module.name.endswith("_service_pb2")
)
# Deeper than this a random message only gets larger.
MAX_DEPTH = 3
TEXT = st.text(max_size=8)
FREE_JSON = st.recursive(
    st.none() | st.booleans() | TEXT | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
_INTS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}


def message_types():
    """Every message of the contract, nested and imported ones included."""
    found = {}

    def add(descriptor):
        if descriptor.full_name in found or descriptor.GetOptions().map_entry:
            return
        if not descriptor.full_name.startswith("kronforce."):
            return
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                add(field.message_type)
        for nested in descriptor.nested_types:
            add(nested)

    for file in FILES:
        for descriptor in file.DESCRIPTOR.message_types_by_name.values():
            add(descriptor)
    return [found[name] for name in sorted(found)]


@st.composite
def messages(draw, descriptor, depth=0):
    """A message with a random part of its fields set; oneofs get one arm at most."""
    message = message_factory.GetMessageClass(descriptor)()
    if descriptor.full_name in SPECIAL:
        SPECIAL[descriptor.full_name](draw, message)
        return message
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1 and draw(st.booleans()):
            fill(draw, message, draw(st.sampled_from(list(oneof.fields))), depth)
    for field in descriptor.fields:
        in_union = field.containing_oneof and len(field.containing_oneof.fields) > 1
        if not in_union and draw(st.booleans()):
            fill(draw, message, field, depth)
    return message


def fill(draw, message, field, depth):
    kind = field.message_type
    if kind is not None and depth >= MAX_DEPTH:
        return
    if kind is not None and kind.GetOptions().map_entry:
        fill_map(draw, message, field, depth)
    elif field.is_repeated:
        for value in draw(st.lists(one(field, depth), max_size=2)):
            getattr(message, field.name).append(value)
    elif kind is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        target.CopyFrom(draw(messages(kind, depth + 1)))
    else:
        setattr(message, field.name, draw(one(field, depth)))


def fill_map(draw, message, field, depth):
    entry = field.message_type.fields_by_name
    target = getattr(message, field.name)
    for key in draw(st.lists(one(entry["key"], depth), max_size=2, unique=True)):
        value = draw(one(entry["value"], depth))
        if entry["value"].message_type is not None:
            target[key].CopyFrom(value)
        else:
            target[key] = value


def one(field, depth):
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    if field.enum_type is not None:
        # An unknown number stands for what a newer server may send.
        return st.sampled_from([value.number for value in field.enum_type.values] + [4711])
    if field.cpp_type in _INTS:
        return _INTS[field.cpp_type]
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats(allow_nan=False).map(_unsigned_zero)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return st.floats(width=32, allow_nan=False).map(_unsigned_zero)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    return st.binary(max_size=8) if field.type == FieldDescriptor.TYPE_BYTES else TEXT


def _unsigned_zero(number):
    """A zero that is left out comes back without its sign."""
    return number + 0.0


def _timestamp(draw, message):
    message.seconds = draw(st.integers(-62135596800, 253402300799))
    message.nanos = draw(st.integers(0, 999_999_999))


def _duration(draw, message):
    message.seconds = draw(st.integers(0, 315_576_000_000))
    message.nanos = draw(st.integers(0, 999_999_999))
    if draw(st.booleans()):
        message.seconds, message.nanos = -message.seconds, -message.nanos


def _struct(draw, message):
    message.update(draw(st.dictionaries(TEXT, FREE_JSON, max_size=3)))


def _value(draw, message):
    # A null means that the field is not set.
    message.struct_value.update({"v": draw(FREE_JSON.filter(lambda each: each is not None))})
    message.CopyFrom(message.struct_value.fields["v"])


def _mask(draw, message):
    message.paths.extend(draw(st.lists(st.from_regex(r"[a-z_]+", fullmatch=True), max_size=3)))


def _status(draw, message):
    message.code = draw(st.integers(0, 16))
    message.message = draw(TEXT)
    if draw(st.booleans()):
        inner = job_service_pb2.GetJobRequest(job_id=draw(TEXT))
        message.details.add().Pack(inner)


SPECIAL = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _value,
    "google.protobuf.FieldMask": _mask,
    "google.rpc.Status": _status,
}
