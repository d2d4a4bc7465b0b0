"""The query of a call as plain data: strict about names, and about what is given twice.

Query fields are the request's fields that neither the path nor the body holds, by their names in
the contract, or by those that the documented paths have for them. Text becomes what the field's
type says; whether it fits is the reader's business, who names a problem by the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kronforce_client.dialect import DialectError, Problem
from kronforce_client.dialect.problems import all_of, suggestion

# More pairs than any call has fields.
MAX_FIELDS = 200

# Documented names of fields, where a request has the one and not the other.
ALIASES: Mapping[str, str] = {"per_page": "page_size", "status": "state"}

_WORDS = {"true": True, "false": False}
# No field of ours holds a number of more digits, and Python reads no more than some thousand.
_MAX_DIGITS = 100
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}
_FRACTIONS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


class QueryFields:
    """What the query of one route takes."""

    def __init__(self, kind: Descriptor, elsewhere: Mapping[str, str]) -> None:
        """`elsewhere`: fields that have another place, and which."""
        self._kind = kind
        self._elsewhere = elsewhere
        own = [field.name for field in kind.fields if field.name not in elsewhere]
        self._aliases = {
            alias: name
            for alias, name in ALIASES.items()
            if name in own and alias not in kind.fields_by_name
        }
        self.names: tuple[str, ...] = (*own, *self._aliases)

    def read(self, query: bytes) -> dict[str, Any]:
        """Plain data of the request's fields. Raises DialectError."""
        data: dict[str, Any] = {}
        pairs = _pairs(query)
        if problems := [each for pair in pairs if (each := self._put(data, *pair))]:
            raise DialectError(problems)
        # Whoever says how long a page is by that name counts pages, and begins with the first.
        if "page_token" not in data and any(name == "per_page" for name, _ in pairs):
            data.setdefault("page", 1)
        return data

    def as_sent(self, query: bytes) -> dict[str, str]:
        """Of fields that came by another name, that one; for who names them in an error."""
        try:
            sent = {name for name, _ in _pairs(query)}
        except DialectError:
            return {}
        return {name: alias for alias, name in self._aliases.items() if alias in sent}

    def _put(self, data: dict[str, Any], name: str, text: str) -> Problem | None:
        path = tuple(name.split("."))
        if path[0] not in self.names:
            return self._unknown(name, path[0])
        path = (self._aliases.get(path[0], path[0]), *path[1:])
        field = _field_at(self._kind, path)
        *outer, last = path
        at = _within(data, outer)
        if at is None or (last in at and not (field is not None and field.is_repeated)):
            return Problem(path=(name,), message="is given twice")
        value = text if field is None else _typed(field, text)
        if field is not None and field.is_repeated:
            at.setdefault(last, []).append(value)
        else:
            at[last] = value
        return None

    def _unknown(self, name: str, top: str) -> Problem:
        if top in self._elsewhere:
            return Problem(path=(name,), message=f"belongs {self._elsewhere[top]}")
        hint = suggestion(name, self.names) or all_of(self.names)
        return Problem(path=(name,), message="is not a known field", hint=hint)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if query.count(b"&") >= MAX_FIELDS:
        raise DialectError([Problem(path=(), message="the query has too many fields")])
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise DialectError([Problem(path=(), message="the query is not valid UTF-8")]) from None


def _field_at(kind: Descriptor, path: Iterable[str]) -> FieldDescriptor | None:
    field: FieldDescriptor | None = None
    at: Descriptor | None = kind
    for name in path:
        field = at.fields_by_name.get(name) if at is not None else None
        if field is None:
            return None
        at = field.message_type
    return field


def _typed(field: FieldDescriptor, text: str) -> Any:
    """What stands for the text in JSON; text that fits no type stays, and is refused as it is."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _WORDS.get(text.lower(), text)
    if field.cpp_type in _NUMBERS and text.isascii() and text.removeprefix("-").isdecimal():
        return int(text) if len(text) <= _MAX_DIGITS else text
    if field.cpp_type in _FRACTIONS:
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _within(data: dict[str, Any], path: Iterable[str]) -> dict[str, Any] | None:
    """The object at a path, made where it is not there; None where something else is."""
    for step in path:
        inside: Any = data.setdefault(step, {})
        if not isinstance(inside, dict):
            return None
        data = inside
    return data
