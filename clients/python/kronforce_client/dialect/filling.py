"""Compiles a message type into a function that fills a message with what is plainly right.

It accepts less than the form allows, never more: what it does not like, a mistake or only a rare
spelling, it leaves to the strict reader by one of `NOT_PLAIN`. What it accepts the strict reader
reads as the same message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kronforce_client.dialect import scalars
from kronforce_client.dialect.known import KNOWN, WRAPPERS
from kronforce_client.dialect.scalars import Wrong
from kronforce_client.dialect.shapes import (
    COMPILING,
    Union,
    is_empty,
    is_map,
    is_union,
    takes_null,
    unions_of,
)
from kronforce_client.dialect.times import fill_timestamp

Fill = Callable[[Any, Any], None]
"""Puts plain data into a message, or a field's value into the message that it is given."""


class NotPlain(Exception):
    """The strict reader decides."""


# What protobuf itself refuses (a type, a range, text that is no Unicode) is among them.
NOT_PLAIN = (NotPlain, Wrong, TypeError, ValueError, LookupError)

_MADE: dict[str, Fill] = {}
_MAKING: set[str] = set()


def filler_of(descriptor: Descriptor) -> Fill:
    """How messages of a type are filled."""
    name = descriptor.full_name
    made = _MADE.get(name)
    if made is None:
        with COMPILING:
            made = _MADE.get(name) or _made(descriptor)
    return made


def _made(descriptor: Descriptor) -> Fill:
    name = descriptor.full_name
    if name in _MAKING:
        # A type within itself might nest without end: only the strict reader counts.
        return _refuse
    _MAKING.add(name)
    _MADE[name] = _filler(descriptor)
    return _MADE[name]


def _refuse(_message: Message, _value: Any) -> None:
    raise NotPlain


def _filler(descriptor: Descriptor) -> Fill:
    name = descriptor.full_name
    if name == "google.protobuf.Timestamp":
        return fill_timestamp
    if name in KNOWN:
        return _copying(KNOWN[name][1])
    if name in WRAPPERS:
        return _field(descriptor.fields_by_name["value"])
    if name == "google.protobuf.Any":
        return _refuse
    return _message(descriptor)


def _copying(read: scalars.Reader) -> Fill:
    def fill(message: Any, value: Any) -> None:
        message.CopyFrom(read(value))

    return fill


def _message(descriptor: Descriptor) -> Fill:
    unions = unions_of(descriptor)
    if len(unions) > 1:
        return _refuse
    own = [f for f in descriptor.fields if _union_name(f) not in unions]
    fields = {field.name: _field(field) for field in own}
    nulls = frozenset(field.name for field in own if takes_null(field))
    for union in unions.values():
        inner = {
            f.name
            for arm in union.oneof.fields
            if arm.message_type
            for f in arm.message_type.fields
        }
        if not union.content and inner & fields.keys():
            return _refuse
        return _tagged(union, fields, nulls, needs_tag=not own)
    return _untagged(fields, nulls)


def _inner_names(union: Union) -> set[str]:
    kinds = [arm.message_type for arm in union.oneof.fields]
    return {field.name for kind in kinds if kind is not None for field in kind.fields}


def _union_name(field: FieldDescriptor) -> str:
    return field.containing_oneof.name if field.containing_oneof is not None else ""


def _untagged(fields: dict[str, Fill], nulls: frozenset[str]) -> Fill:
    def fill(message: Any, value: Any) -> None:
        if type(value) is not dict:
            raise NotPlain
        for key, each in value.items():
            put = fields[key]
            if each is not None or key in nulls:
                put(message, each)

    return fill


def _tagged(
    union: Union, fields: dict[str, Fill], nulls: frozenset[str], *, needs_tag: bool
) -> Fill:
    """A type with a union: the arm that the tag names, then the other fields."""
    tag = union.tag
    arms = {field.name: _arm(field, union) for field in union.oneof.fields}
    rest = _untagged(fields, nulls)

    def fill(message: Any, value: Any) -> None:
        if type(value) is not dict:
            raise NotPlain
        if tag in value:
            left = dict(value)
            arms[left.pop(tag)](message, left)
            rest(message, left)
        elif needs_tag or union.content in value:
            raise NotPlain
        else:
            rest(message, value)

    return fill


def _arm(field: FieldDescriptor, union: Union) -> Fill:
    """Fills an arm and takes what it used."""
    name, put, content = field.name, _field(field), union.content
    if content and not is_empty(field):

        def fill(message: Any, value: dict[str, Any]) -> None:
            inside = value.pop(content)
            if inside is None:
                raise NotPlain
            put(message, inside)

        return fill
    assert field.message_type is not None
    names = () if content else tuple(each.name for each in field.message_type.fields)

    def fill_inline(message: Any, value: dict[str, Any]) -> None:
        getattr(message, name).SetInParent()
        inside = {key: value.pop(key) for key in names if key in value}
        if inside:
            put(message, inside)

    return fill_inline


def _field(field: FieldDescriptor) -> Fill:
    fill = _value(field)
    oneof = field.containing_oneof
    # proto3's `optional` is a oneof of one; of a union only one arm is filled at all.
    if oneof is None or len(oneof.fields) == 1 or is_union(oneof):
        return fill

    def alone(message: Any, value: Any) -> None:
        if message.WhichOneof(oneof.name) is not None:
            raise NotPlain
        fill(message, value)

    return alone


def _value(field: FieldDescriptor) -> Fill:
    if is_map(field):
        return _map(field)
    if field.is_repeated:
        return _list(field)
    name = field.name
    if field.message_type is None:
        return _scalar(name, checked(field))
    inside = filler_of(field.message_type)

    def fill(message: Any, value: Any) -> None:
        target = getattr(message, name)
        target.SetInParent()
        inside(target, value)

    return fill


def _scalar(name: str, check: scalars.Reader | type) -> Fill:
    if not isinstance(check, type):

        def read(message: Any, value: Any) -> None:
            setattr(message, name, check(value))

        return read

    def put(message: Any, value: Any) -> None:
        if type(value) is not check:
            raise NotPlain
        setattr(message, name, value)

    return put


def checked(field: FieldDescriptor) -> scalars.Reader | type:
    """The type that values must have where protobuf checks the rest, else the strict reader."""
    if field.enum_type is not None or field.type == FieldDescriptor.TYPE_BYTES:
        return scalars.scalar(field)[1]
    return _TYPES.get(field.cpp_type) or scalars.scalar(field)[1]


_TYPES: dict[int, type] = {
    FieldDescriptor.CPPTYPE_STRING: str,
    FieldDescriptor.CPPTYPE_BOOL: bool,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int,
    FieldDescriptor.CPPTYPE_UINT64: int,
}


def _one(check: scalars.Reader | type) -> scalars.Reader:
    if not isinstance(check, type):
        return check

    def same(value: Any) -> Any:
        if type(value) is not check:
            raise NotPlain
        return value

    return same


def _list(field: FieldDescriptor) -> Fill:
    name = field.name
    if field.message_type is None:
        one = _one(checked(field))

        def put(message: Any, value: Any) -> None:
            if type(value) is not list:
                raise NotPlain
            getattr(message, name).extend([one(each) for each in value])

        return put
    inside = filler_of(field.message_type)

    def fill(message: Any, value: Any) -> None:
        if type(value) is not list:
            raise NotPlain
        add = getattr(message, name).add
        for each in value:
            inside(add(), each)

    return fill


def _map(field: FieldDescriptor) -> Fill:
    assert field.message_type is not None
    name = field.name
    entry = field.message_type.fields_by_name
    _, read_key = scalars.map_key(entry["key"])
    kind = entry["value"].message_type
    one = None if kind is not None else _one(checked(entry["value"]))
    inside = None if kind is None else filler_of(kind)

    def fill(message: Any, value: Any) -> None:
        if type(value) is not dict:
            raise NotPlain
        target = getattr(message, name)
        for key, each in value.items():
            if inside is not None:
                inside(target[read_key(key)], each)
            elif one is not None:
                target[read_key(key)] = one(each)

    return fill
