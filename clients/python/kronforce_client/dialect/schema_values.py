"""JSON Schema of single values: the kinds that `scalars` and `known` read, and how they combine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

Schema = dict[str, Any]

_WHOLE = "^-?(0|[1-9][0-9]*)$"
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_LONG = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_INSTANT = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
    "(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)

_SECONDS = "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$"

KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {
        "type": "string",
        "format": "date-time",
        "pattern": _INSTANT,
    },
    "google.protobuf.Duration": {
        "type": ["string", "number"],
        "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s?$",
    },
    "google.protobuf.FieldMask": {
        "type": "string",
        "pattern": "^([A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*)?$",
    },
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
}


def scalar(field: FieldDescriptor, *, closed_enums: bool) -> Schema:
    """One value of a scalar field."""
    if field.enum_type is not None:
        return _enum(field.enum_type, closed=closed_enums)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return {"type": ["number", "string"], "pattern": "^(NaN|-?Infinity)$"}
    if field.cpp_type in _RANGES:
        return _whole(field)
    return {"type": "string"}


def _whole(field: FieldDescriptor) -> Schema:
    low, high = _RANGES[field.cpp_type]
    made: Schema = {"type": "integer", "minimum": low, "maximum": high}
    if field.cpp_type in _LONG:
        made |= {"type": ["integer", "string"], "pattern": _WHOLE}
    return made


def written(made: Mapping[str, Any]) -> Schema:
    """Of a value that can be read in several ways, the one in which it is written."""
    kinds = made.get("type")
    if kinds == ["integer", "string"]:
        return {**{key: made[key] for key in made if key != "pattern"}, "type": "integer"}
    if kinds == ["string", "number"]:
        return {**made, "type": "string", "pattern": _SECONDS}
    return dict(made)


def words(kind: EnumDescriptor) -> dict[int, str]:
    """The words of an enum by their numbers, as `scalars.enum` writes them."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.name).upper() + "_"
    return {each.number: each.name.removeprefix(prefix).lower() for each in kind.values}


def _enum(kind: EnumDescriptor, *, closed: bool) -> Schema:
    known = words(kind)
    # What editors offer first is what people mean.
    named = sorted(known.values(), key=lambda word: word == "unspecified")
    made: Schema = {"type": "string", "enum": named}
    if closed:
        return made
    low, high = _RANGES[FieldDescriptor.CPPTYPE_INT32]
    other = {"type": "integer", "minimum": low, "maximum": high, "not": {"enum": sorted(known)}}
    return {"anyOf": [made, other]}


def keys(field: FieldDescriptor) -> Schema:
    """What the keys of a map must be; JSON has them as text."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return {}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"propertyNames": {"enum": ["true", "false"]}}
    return {"propertyNames": {"pattern": _WHOLE}}


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def nullable(made: Mapping[str, Any]) -> Schema:
    """The same or null."""
    if "anyOf" in made:
        return {**made, "anyOf": [*made["anyOf"], {"type": "null"}]}
    if "type" not in made:
        return dict(made)
    kinds = made["type"] if isinstance(made["type"], list) else [made["type"]]
    enum = {"enum": [*made["enum"], None]} if "enum" in made else {}
    return {**made, "type": [*kinds, "null"], **enum}


def merged(made: Mapping[str, Any], more: Mapping[str, Any]) -> Schema:
    """With further keywords, inside too; a number with bounds is not NaN, so not text either."""
    result = dict(made)
    if "minimum" in more and "number" in made.get("type", ()):
        del result["pattern"]
        result["type"] = [kind for kind in made["type"] if kind != "string"]
    for keyword, value in more.items():
        inside = result.get(keyword)
        result[keyword] = merged(inside, value) if isinstance(inside, dict) else value
    return result
