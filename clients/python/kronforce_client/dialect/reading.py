"""Compiles a message type into a strict reader, once, and keeps it.

Reading collects every problem with its path instead of stopping at the first. A compiled type is a
list of fields with a function each; a oneof marked `json_union` is one more entry. Types may be
recursive: a type is entered into the cache before its fields are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kronforce_client.dialect import scalars
from kronforce_client.dialect.anything import read_any
from kronforce_client.dialect.known import KNOWN, WRAPPERS
from kronforce_client.dialect.problems import (
    MAX_PROBLEMS,
    DialectError,
    Path,
    Problem,
    all_of,
    described,
    suggestion,
)
from kronforce_client.dialect.scalars import Wrong
from kronforce_client.dialect.shapes import Union, is_empty, is_map, takes_null, unions_of

M = TypeVar("M", bound=Message)

# How the value of one element, message or scalar, is read.
Read = Callable[[Any, Path, "Reading"], Any]

# Messages nest no deeper than this, whatever their types allow.
MAX_NESTING = 64
_FAILED = object()


def read(kind: type[M], value: Any) -> M:
    """The message that plain data means. Raises DialectError with every problem found."""
    reading = Reading()
    message = _element_of(cast("Descriptor", kind.DESCRIPTOR))(value, (), reading)
    if reading.problems:
        raise DialectError(reading.problems)
    assert isinstance(message, kind)
    return message


class Reading:
    """The problems of one document, as they are found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, path: Path, message: str, hint: str = "") -> Any:
        """Note a problem; gives the mark that stands for a value that could not be read."""
        self.problems.append(Problem(path=path, message=message, hint=hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise DialectError(self.problems)
        return _FAILED


class _Field:
    """One field, compiled."""

    def __init__(self, descriptor: FieldDescriptor) -> None:
        self.name = descriptor.name
        self.descriptor = descriptor
        self.kind = descriptor.message_type
        self.takes_null = takes_null(descriptor)
        self.is_empty = is_empty(descriptor)
        self.read = _value_of(descriptor)
        self._set: Callable[[Any, str, Any], None] = setattr if self.kind is None else _copy
        if descriptor.is_repeated:
            self._set = _fill_map if is_map(descriptor) else _fill_repeated

    def inner_names(self) -> set[str]:
        """The fields of the message that this field holds; none for a scalar."""
        return set() if self.kind is None else {each.name for each in self.kind.fields}

    def read_into(self, message: Message, value: Any, path: Path, reading: Reading) -> None:
        if value is None and not self.takes_null:
            return  # null is "not set"
        read = self.read(value, path, reading)
        if read is not _FAILED:
            self._set(message, self.name, read)


class _Union:
    """A oneof that is rendered as one tagged object, compiled."""

    def __init__(self, union: Union) -> None:
        self.tag, self.content = union.tag, union.content
        self.arms = {field.name: _Field(field) for field in union.oneof.fields}
        self.own_keys = {self.tag, self.content} if self.content else {self.tag}

    def keys(self, value: Mapping[str, Any]) -> set[str]:
        """The keys of an object that belong to this union."""
        if self.content:
            return self.own_keys
        # Without a valid tag, which is a problem of its own, any arm's fields may be meant.
        arm = self._arm(value)
        arms = [arm] if arm else self.arms.values()
        return self.own_keys.union(*(each.inner_names() for each in arms))

    def _arm(self, value: Mapping[str, Any]) -> _Field | None:
        tag = value.get(self.tag)
        return self.arms.get(tag) if isinstance(tag, str) else None

    def read_into(
        self, message: Message, value: Mapping[str, Any], path: Path, reading: Reading
    ) -> None:
        known = self.own_keys & value.keys()
        if not known:
            if value and not self._others(message, value):
                known_tags = ", ".join(self.arms)
                reading.wrong(path, f'needs "{self.tag}": one of {known_tags}')
            return
        arm = self._arm(value)
        if arm is None:
            self._wrong_tag(value, path, reading)
            return
        inside = self._inside(arm, value, path, reading)
        if inside is not _FAILED:
            where = (*path, self.content) if self.content and self.content in value else path
            arm.read_into(message, inside, where, reading)

    def _others(self, message: Message, value: Mapping[str, Any]) -> bool:
        names = {each.name for each in message.DESCRIPTOR.fields if not each.containing_oneof}
        return bool(names)

    def _inside(self, arm: _Field, value: Mapping[str, Any], path: Path, reading: Reading) -> Any:
        if not self.content:
            names = arm.inner_names()
            return {key: each for key, each in value.items() if key in names}
        if arm.is_empty:
            if value.get(self.content) in (None, {}):
                return {}
            where = (*path, self.content)
            return reading.wrong(where, f'"{arm.name}" has no {self.content}: leave it out')
        if value.get(self.content) is None:
            return reading.wrong(path, f'"{arm.name}" needs "{self.content}"')
        return value[self.content]

    def _wrong_tag(self, value: Mapping[str, Any], path: Path, reading: Reading) -> None:
        if self.tag not in value:
            reading.wrong(path, f'needs "{self.tag}": one of {", ".join(self.arms)}')
            return
        tag = value[self.tag]
        shown = f'"{tag}"' if isinstance(tag, str) else described(tag)
        hint = suggestion(tag, self.arms) if isinstance(tag, str) else ""
        reading.wrong(
            (*path, self.tag), f"must be one of {', '.join(self.arms)}, not {shown}", hint
        )


class _Compiled:
    """A message type, compiled; its fields are made on first use, since types may be recursive."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._class = message_factory.GetMessageClass(descriptor)
        self._fields: dict[str, _Field] | None = None
        self._unions: list[_Union] = []

    def _compile(self) -> dict[str, _Field]:
        unions = unions_of(self._descriptor)
        in_unions = {f.name for each in unions.values() for f in each.oneof.fields}
        self._fields = {
            each.name: _Field(each)
            for each in self._descriptor.fields
            if each.name not in in_unions
        }
        self._unions = [_Union(each) for each in unions.values()]
        return self._fields

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        if not isinstance(value, Mapping):
            return reading.wrong(path, f"must be an object, not {described(value)}")
        if len(path) > MAX_NESTING:
            return reading.wrong(path, f"is nested deeper than {MAX_NESTING}")
        fields = self._compile() if self._fields is None else self._fields
        message = self._class()
        in_unions: set[str] = set()
        for union in self._unions:
            in_unions |= union.keys(value)
            union.read_into(message, value, path, reading)
        for key, each in value.items():
            field = fields.get(key) if isinstance(key, str) else None
            if field is not None:
                self._read_field(field, message, each, (*path, key), reading)
            elif key not in in_unions:
                self._unknown(key, value, path, reading)
        return message

    def _read_field(
        self, field: _Field, message: Message, value: Any, path: Path, reading: Reading
    ) -> None:
        oneof = field.descriptor.containing_oneof
        taken = message.WhichOneof(oneof.name) if oneof is not None else None
        if taken is not None and value is not None:
            reading.wrong(path, f'cannot stand beside "{taken}": only one of them may be set')
            return
        field.read_into(message, value, path, reading)

    def _unknown(self, key: object, value: Mapping[str, Any], path: Path, reading: Reading) -> None:
        text = str(key)
        known = set(self._fields or ())
        for union in self._unions:
            known |= union.keys(value)
        hint = suggestion(text, sorted(known)) or all_of(known)
        reading.wrong((*path, text), "is not a known field", hint)


_COMPILED: dict[str, _Compiled] = {}


def _element_of(descriptor: Descriptor) -> Read:
    """How messages of a type are read."""
    name = descriptor.full_name
    if name in KNOWN:
        return _simple(KNOWN[name][1])
    if name in WRAPPERS:
        return _wrapper(descriptor)
    if name == "google.protobuf.Any":
        return _anything
    compiled = _COMPILED.get(name)
    if compiled is None:
        compiled = _COMPILED[name] = _Compiled(descriptor)
    return compiled.read


def _value_of(field: FieldDescriptor) -> Read:
    """How a field's whole value is read."""
    if is_map(field):
        return _map(field)
    read_one = _single(field)
    return _list(read_one) if field.is_repeated else read_one


def _single(field: FieldDescriptor) -> Read:
    if field.message_type is not None:
        return _element_of(field.message_type)
    return _simple(scalars.scalar(field)[1])


def _simple(reader: scalars.Reader) -> Read:
    def read(value: Any, path: Path, reading: Reading) -> Any:
        try:
            return reader(value)
        except Wrong as wrong:
            return reading.wrong(path, wrong.message, wrong.hint)

    return read


def _wrapper(descriptor: Descriptor) -> Read:
    inner_read = _single(descriptor.fields_by_name["value"])
    kind = message_factory.GetMessageClass(descriptor)

    def read(value: Any, path: Path, reading: Reading) -> Any:
        inner = inner_read(value, path, reading)
        return inner if inner is _FAILED else kind(value=inner)

    return read


def _anything(value: Any, path: Path, reading: Reading) -> Any:
    try:
        return read_any(value, read)
    except Wrong as wrong:
        return reading.wrong(path, wrong.message, wrong.hint)
    except DialectError as error:
        for each in error.problems:
            reading.wrong((*path, *each.path), each.message, each.hint)
        return _FAILED


def _list(read_one: Read) -> Read:
    def read(value: Any, path: Path, reading: Reading) -> Any:
        if not isinstance(value, list | tuple):
            return reading.wrong(path, f"must be a list, not {described(value)}")
        found = [read_one(each, (*path, index), reading) for index, each in enumerate(value)]
        return [each for each in found if each is not _FAILED]

    return read


def _map(field: FieldDescriptor) -> Read:
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    _, read_key = scalars.map_key(entry["key"])
    read_one = _single(entry["value"])

    def read(value: Any, path: Path, reading: Reading) -> Any:
        if not isinstance(value, Mapping):
            return reading.wrong(path, f"must be an object, not {described(value)}")
        result = {}
        for key, each in value.items():
            where = (*path, str(key))
            try:
                known = read_key(key)
            except Wrong as wrong:
                reading.wrong(where, f"as a key {wrong.message}", wrong.hint)
                continue
            one = read_one(each, where, reading)
            if one is not _FAILED:
                result[known] = one
        return result

    return read


def _copy(into: Message, name: str, value: Message) -> None:
    target = getattr(into, name)
    target.SetInParent()
    target.CopyFrom(value)


def _fill_repeated(into: Message, name: str, values: list[Any]) -> None:
    getattr(into, name).extend(values)


def _fill_map(into: Message, name: str, values: dict[Any, Any]) -> None:
    target = getattr(into, name)
    for key, value in values.items():
        if isinstance(value, Message):
            target[key].CopyFrom(value)
        else:
            target[key] = value
