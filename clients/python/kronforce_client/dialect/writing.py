"""Compiles a message type into a function that makes plain data of a message.

The function is Python source, made of the type's descriptor once: a list that speaks of every field
of every row has no room for a call per field. Two are made per type, with and without defaults.
Types may be recursive: one that is being made is called through the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from keyword import iskeyword
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from kronforce_client.dialect import scalars
from kronforce_client.dialect.anything import write_any
from kronforce_client.dialect.known import KNOWN, WRAPPERS
from kronforce_client.dialect.shapes import COMPILING, Union, is_empty, is_map, unions_of

Write = Callable[[Any], Any]

_MADE: dict[tuple[str, bool], Write] = {}
_MAKING: set[tuple[str, bool]] = set()


def writer_of(descriptor: Descriptor, *, omit: bool) -> Write:
    """How messages of a type are written; with `omit`, fields with default values are left out."""
    name = descriptor.full_name
    if name in KNOWN:
        return KNOWN[name][0]
    if name in WRAPPERS:
        inner = _value_writer(descriptor.fields_by_name["value"], omit)
        return lambda value: inner(value.value)
    if name == "google.protobuf.Any":
        return lambda value: write_any(value, lambda inside: _write(inside, omit))
    made = _MADE.get((name, omit))
    if made is None:
        with COMPILING:
            made = _MADE.get((name, omit)) or _made(descriptor, omit)
    return made


def writer_of_some(descriptor: Descriptor, wanted: Callable[[str], bool]) -> Write:
    """A writer of those fields, by name, that are wanted; unions go by the name of their first."""
    source = _Source(omit=False)
    with COMPILING:
        source.message(descriptor, wanted)
        return source.compiled(descriptor.full_name)


def _write(message: Message, omit: bool) -> Any:
    return writer_of(cast("Descriptor", message.DESCRIPTOR), omit=omit)(message)


def _made(descriptor: Descriptor, omit: bool) -> Write:
    key = descriptor.full_name, omit
    if key in _MAKING:
        return partial(_write, omit=omit)
    _MAKING.add(key)
    source = _Source(omit)
    source.message(descriptor)
    _MADE[key] = source.compiled(descriptor.full_name)
    return _MADE[key]


def _value_writer(field: FieldDescriptor, omit: bool) -> Write:
    if field.message_type is not None:
        return writer_of(field.message_type, omit=omit)
    return scalars.scalar(field)[0]


class _Source:
    """The lines of one function, and what they call by name."""

    def __init__(self, omit: bool) -> None:
        self._omit = omit
        self._lines = ["def write(m):", " r = {}"]
        self._names: dict[str, Any] = {}

    def compiled(self, name: str) -> Write:
        source = "\n".join([*self._lines, " return r"])
        # Made of nothing but names in descriptors that this process was built with.
        exec(compile(source, f"<writer of {name}>", "exec"), self._names)  # noqa: S102
        write: Write = self._names["write"]
        return write

    def message(
        self, descriptor: Descriptor, wanted: Callable[[str], bool] = lambda _: True
    ) -> None:
        unions = unions_of(descriptor)
        for field in filter(lambda field: wanted(field.name), descriptor.fields):
            oneof = field.containing_oneof
            union = unions.get(oneof.name) if oneof is not None else None
            if union is None:
                self._field(field)
            elif field is union.oneof.fields[0]:
                self._union(union.oneof, union)

    def _field(self, field: FieldDescriptor) -> None:
        name = field.name
        if field.has_presence:
            self._lines.append(f" if m.HasField({name!r}): r[{name!r}] = {self._value(field)}")
        elif self._omit:
            self._lines.append(f" if {_of('m', name)}: r[{name!r}] = {self._value(field)}")
        else:
            self._lines.append(f" r[{name!r}] = {self._value(field)}")

    def _value(self, field: FieldDescriptor) -> str:
        value = _of("m", field.name)
        if is_map(field):
            return self._map(field, value)
        if not field.is_repeated:
            return self._single(field, value)
        one = self._single(field, "e")
        return f"list({value})" if one == "e" else f"[{one} for e in {value}]"

    def _map(self, field: FieldDescriptor, value: str) -> str:
        assert field.message_type is not None
        entry = field.message_type.fields_by_name
        write_key, _ = scalars.map_key(entry["key"])
        key = "k" if write_key is scalars.same else f"{self._named(write_key)}(k)"
        one = self._single(entry["value"], f"{value}[k]")
        return f"{{{key}: {one} for k in sorted({value})}}"

    def _single(self, field: FieldDescriptor, value: str) -> str:
        write = _value_writer(field, self._omit)
        return value if write is scalars.same else f"{self._named(write)}({value})"

    def _union(self, oneof: OneofDescriptor, union: Union) -> None:
        arms = {
            field.name: (_value_writer(field, self._omit), is_empty(field))
            for field in oneof.fields
        }
        named = self._named(_union_writer(union, arms))
        self._lines += [
            f" n = m.WhichOneof({oneof.name!r})",
            f" if n: {named}(r, n, getattr(m, n))",
        ]

    def _named(self, called: Callable[..., Any]) -> str:
        name = f"f{len(self._names)}"
        self._names[name] = called
        return name


def _union_writer(
    union: Union, arms: dict[str, tuple[Write, bool]]
) -> Callable[[dict[str, Any], str, Any], None]:
    tag, content = union.tag, union.content

    def write(result: dict[str, Any], name: str, value: Any) -> None:
        result[tag] = name
        inside, empty = arms[name]
        if not content:
            result.update(inside(value))
        elif not empty:
            result[content] = inside(value)

    return write


def _of(message: str, name: str) -> str:
    return f"getattr({message}, {name!r})" if iskeyword(name) else f"{message}.{name}"
