"""Google's well-known types: instants, durations, masks, free JSON, wrappers, Any.

Each has a writer (message to plain data) and a reader (plain data to message) of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2

from kronforce_client.dialect.problems import Path, described
from kronforce_client.dialect.scalars import Reader, Writer, Wrong, read_text, write_float
from kronforce_client.dialect.text import too_deep
from kronforce_client.dialect.times import write_timestamp

# Protobuf's readers follow a hundred messages, and a level of free JSON is up to three of them.
FREE_DEPTH = 25
# Beyond this a double, which is what free JSON is kept in, cannot hold each integer.
_EXACT = 2**53
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_SECONDS = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s?", re.ASCII)
_MAX_DURATION = 315_576_000_000
_MASK = re.compile(r"(\*|[A-Za-z0-9_.]+)(,(\*|[A-Za-z0-9_.]+))*", re.ASCII)


def read_timestamp(value: Any) -> timestamp_pb2.Timestamp:
    example = "2026-11-20T14:03:20Z"
    if not isinstance(value, str):
        raise Wrong(f"must be an instant such as {example}, not {described(value)}")
    if not _INSTANT.fullmatch(value):
        raise Wrong(f'"{value}" is not an instant', f"write date, time and zone: {example}")
    message = timestamp_pb2.Timestamp()
    try:
        message.FromJsonString(value.upper())
    except ValueError:
        raise Wrong(f'"{value}" is not an instant that exists', f"such as {example}") from None
    return message


def write_duration(value: duration_pb2.Duration) -> str:
    return value.ToJsonString()


def read_duration(value: Any) -> duration_pb2.Duration:
    text = repr(value) if _is_number(value) else value
    match = _SECONDS.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[2]) > _MAX_DURATION:
        raise Wrong('must be seconds such as 90 or "1.5s"')
    sign = -1 if match[1] else 1
    nanos = int((match[3] or "").ljust(9, "0"))
    return duration_pb2.Duration(seconds=sign * int(match[2]), nanos=sign * nanos)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_mask(value: field_mask_pb2.FieldMask) -> str:
    return ",".join(value.paths)


def read_mask(value: Any) -> field_mask_pb2.FieldMask:
    text = read_text(value)
    if text and not _MASK.fullmatch(text):
        raise Wrong("must be field names with commas between them")
    return field_mask_pb2.FieldMask(paths=text.split(",") if text else [])


def write_value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return write_struct(value.struct_value)
    if kind == "list_value":
        return write_list(value.list_value)
    if kind == "number_value":
        return write_float(value.number_value)
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None


def write_struct(value: struct_pb2.Struct) -> dict[str, Any]:
    return {key: write_value(value.fields[key]) for key in sorted(value.fields)}


def write_list(value: struct_pb2.ListValue) -> list[Any]:
    return [write_value(each) for each in value.values]


def read_struct(value: Any) -> struct_pb2.Struct:
    if not isinstance(value, Mapping):
        raise Wrong(f"must be an object, not {described(value)}")
    return _checked(value).struct_value


def read_list(value: Any) -> struct_pb2.ListValue:
    if not isinstance(value, list):
        raise Wrong(f"must be a list, not {described(value)}")
    return _checked(value).list_value


def read_value(value: Any) -> struct_pb2.Value:
    return _checked(value)


def _checked(value: Any) -> struct_pb2.Value:
    if too_deep(value, FREE_DEPTH - 1):
        raise Wrong(f"is nested deeper than {FREE_DEPTH}")
    message = struct_pb2.Value()
    _fill(message, value, ())
    return message


def _fill(into: struct_pb2.Value, value: Any, path: Path) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, str):
        into.string_value = read_text(value)
    elif isinstance(value, int | float):
        into.number_value = _number(value)
    elif isinstance(value, Mapping):
        _fill_struct(into.struct_value, value, path)
    elif isinstance(value, list | tuple):
        into.list_value.SetInParent()
        for index, each in enumerate(value):
            _fill(into.list_value.values.add(), each, (*path, index))
    else:
        raise Wrong(f"must be JSON, not {described(value)}")


def _fill_struct(into: struct_pb2.Struct, value: Mapping[Any, Any], path: Path) -> None:
    into.SetInParent()
    for key, each in value.items():
        _fill(into.fields[read_text(key)], each, (*path, key))


def _number(value: float) -> float:
    if isinstance(value, int) and abs(value) > _EXACT:
        raise Wrong(f"has the whole number {value}, beyond ±2^53", "send it as text, in quotes")
    if not math.isfinite(value):
        raise Wrong("must be JSON, which has neither NaN nor infinity")
    return float(value)


KNOWN: dict[str, tuple[Writer, Reader]] = {
    "google.protobuf.Timestamp": (write_timestamp, read_timestamp),
    "google.protobuf.Duration": (write_duration, read_duration),
    "google.protobuf.FieldMask": (write_mask, read_mask),
    "google.protobuf.Struct": (write_struct, read_struct),
    "google.protobuf.ListValue": (write_list, read_list),
    "google.protobuf.Value": (write_value, read_value),
}

WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
