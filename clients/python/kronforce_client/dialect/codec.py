"""Compiles a message type into a writer and a reader, once, and keeps it.

A compiled type is a list of fields with a function each way; a oneof marked `json_union` is one
more entry. Reading collects every problem with its path instead of stopping at the first. Types
may be recursive: a type is entered into the cache before its fields are compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from kronforce.v1 import options_pb2
from kronforce_client.dialect import scalars
from kronforce_client.dialect.anything import read_any, write_any
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

M = TypeVar("M", bound=Message)

# A value of one element: how it is written (message or scalar, leave out defaults?) and read.
Write = Callable[[Any, bool], Any]
Read = Callable[[Any, Path, "Reading"], Any]

# Messages nest no deeper than this, whatever their types allow.
MAX_NESTING = 64
_FAILED = object()
_FREE_JSON = "google.protobuf.Value"


def render(message: Message, *, omit_defaults: bool = False) -> Any:
    """Plain data of a message.

    Fields without presence always appear unless `omit_defaults`; unset optional ones never do.
    """
    write, _ = _element_of(cast("Descriptor", message.DESCRIPTOR))
    return write(message, omit_defaults)


def parse(kind: type[M], value: Any) -> M:
    """The message that plain data means. Raises DialectError with every problem found."""
    _, read = _element_of(cast("Descriptor", kind.DESCRIPTOR))
    reading = Reading()
    message = read(value, (), reading)
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
        self.has_presence = descriptor.has_presence
        self.kind = descriptor.message_type
        self.takes_null = self.kind is not None and self.kind.full_name == _FREE_JSON
        self.write, self.read = _value_of(descriptor)
        self._set: Callable[[Any, str, Any], None] = setattr if self.kind is None else _copy
        if descriptor.is_repeated:
            self._set = _fill_map if _is_map(descriptor) else _fill_repeated

    def inner_names(self) -> set[str]:
        """The fields of the message that this field holds; none for a scalar."""
        return set() if self.kind is None else {each.name for each in self.kind.fields}

    def write_into(self, result: dict[str, Any], message: Message, omit: bool) -> None:
        if self.has_presence:
            if message.HasField(self.name):
                result[self.name] = self.write(getattr(message, self.name), omit)
            return
        value = getattr(message, self.name)
        if not omit or value:
            result[self.name] = self.write(value, omit)

    def read_into(self, message: Message, value: Any, path: Path, reading: Reading) -> None:
        if value is None and not self.takes_null:
            return  # null is "not set"
        read = self.read(value, path, reading)
        if read is not _FAILED:
            self._set(message, self.name, read)


class _Union:
    """A oneof that is rendered as one tagged object, compiled."""

    def __init__(self, oneof: OneofDescriptor) -> None:
        rule = oneof.GetOptions().Extensions[options_pb2.json_union]
        self.name = oneof.name
        self.tag = rule.tag or "type"
        self.content = rule.content
        self.arms = {field.name: _Field(field) for field in oneof.fields}
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

    def write_into(self, result: dict[str, Any], message: Message, omit: bool) -> None:
        name = message.WhichOneof(self.name)
        if name is None:
            return
        arm = self.arms[name]
        result[self.tag] = name
        inside = arm.write(getattr(message, name), omit)
        if not self.content:
            result.update(inside)
        elif not self._is_empty(arm):
            result[self.content] = inside

    def _is_empty(self, arm: _Field) -> bool:
        return arm.kind is not None and not arm.kind.fields

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
        if self._is_empty(arm):
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
        self._parts: list[_Field | _Union] = []

    def _compile(self) -> dict[str, _Field]:
        unions: dict[str, _Union] = {}
        fields: dict[str, _Field] = {}
        for each in self._descriptor.fields:
            oneof = each.containing_oneof
            if oneof is None or not _is_union(oneof):
                fields[each.name] = _Field(each)
                self._parts.append(fields[each.name])
            elif oneof.name not in unions:
                unions[oneof.name] = _Union(oneof)
                self._parts.append(unions[oneof.name])
        self._unions = list(unions.values())
        self._fields = fields
        return fields

    def write(self, message: Message, omit: bool) -> dict[str, Any]:
        if self._fields is None:
            self._compile()
        result: dict[str, Any] = {}
        for part in self._parts:
            part.write_into(result, message, omit)
        return result

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


def _element_of(descriptor: Descriptor) -> tuple[Write, Read]:
    """How messages of a type are written and read."""
    name = descriptor.full_name
    if name in KNOWN:
        return _simple(*KNOWN[name])
    if name in WRAPPERS:
        return _wrapper(descriptor)
    if name == "google.protobuf.Any":
        return _anything()
    compiled = _COMPILED.get(name)
    if compiled is None:
        compiled = _COMPILED[name] = _Compiled(descriptor)
    return compiled.write, compiled.read


def _value_of(field: FieldDescriptor) -> tuple[Write, Read]:
    """How a field's whole value is written and read."""
    if _is_map(field):
        return _map(field)
    write, read = _single(field)
    return _list(write, read) if field.is_repeated else (write, read)


def _single(field: FieldDescriptor) -> tuple[Write, Read]:
    if field.message_type is not None:
        return _element_of(field.message_type)
    return _simple(*scalars.scalar(field))


def _simple(writer: scalars.Writer, reader: scalars.Reader) -> tuple[Write, Read]:
    def write(value: Any, omit: bool) -> Any:
        return writer(value)

    def read(value: Any, path: Path, reading: Reading) -> Any:
        try:
            return reader(value)
        except Wrong as wrong:
            return reading.wrong(path, wrong.message, wrong.hint)

    return write, read


def _wrapper(descriptor: Descriptor) -> tuple[Write, Read]:
    inner_write, inner_read = _single(descriptor.fields_by_name["value"])
    kind = message_factory.GetMessageClass(descriptor)

    def write(value: Any, omit: bool) -> Any:
        return inner_write(value.value, omit)

    def read(value: Any, path: Path, reading: Reading) -> Any:
        inner = inner_read(value, path, reading)
        return inner if inner is _FAILED else kind(value=inner)

    return write, read


def _anything() -> tuple[Write, Read]:
    def write(value: Any, omit: bool) -> Any:
        return write_any(value, lambda inner: render(inner, omit_defaults=omit))

    def read(value: Any, path: Path, reading: Reading) -> Any:
        try:
            return read_any(value, parse)
        except Wrong as wrong:
            return reading.wrong(path, wrong.message, wrong.hint)
        except DialectError as error:
            for each in error.problems:
                reading.wrong((*path, *each.path), each.message, each.hint)
            return _FAILED

    return write, read


def _list(write_one: Write, read_one: Read) -> tuple[Write, Read]:
    def write(values: Any, omit: bool) -> list[Any]:
        return [write_one(each, omit) for each in values]

    def read(value: Any, path: Path, reading: Reading) -> Any:
        if not isinstance(value, list | tuple):
            return reading.wrong(path, f"must be a list, not {described(value)}")
        found = [read_one(each, (*path, index), reading) for index, each in enumerate(value)]
        return [each for each in found if each is not _FAILED]

    return write, read


def _map(field: FieldDescriptor) -> tuple[Write, Read]:
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    write_key, read_key = scalars.map_key(entry["key"])
    write_one, read_one = _single(entry["value"])

    def write(values: Any, omit: bool) -> dict[str, Any]:
        return {write_key(key): write_one(values[key], omit) for key in sorted(values)}

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

    return write, read


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_union(oneof: OneofDescriptor) -> bool:
    return bool(oneof.GetOptions().HasExtension(options_pb2.json_union))


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
