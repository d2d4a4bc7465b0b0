"""Scalars: how one value of each kind is written and read, ranges included.

A reader raises `Wrong` with what the value must be; whoever called it knows the path.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from kronforce_client.dialect.problems import described, suggestion

Writer = Callable[[Any], Any]
Reader = Callable[[Any], Any]

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Wrong(Exception):
    """The value does not fit; `str()` says what it must be."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def same(value: Any) -> Any:
    """Written as it is."""
    return value


def scalar(field: FieldDescriptor) -> tuple[Writer, Reader]:
    """How the values of a scalar field are written and read."""
    if field.enum_type is not None:
        return enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return write_bytes, read_bytes
    if field.cpp_type in _RANGES:
        return same, _whole(*_RANGES[field.cpp_type])
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return write_float, read_float32
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return write_float, read_float
    return same, read_bool if field.type == FieldDescriptor.TYPE_BOOL else read_text


def read_text(value: Any) -> str:
    """Text that can be stored as UTF-8."""
    if not isinstance(value, str):
        raise Wrong(f"must be text, not {described(value)}", _quote_hint(value))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Wrong("must be valid Unicode: it has half of a surrogate pair") from None
    return value


def _quote_hint(value: Any) -> str:
    simple = isinstance(value, int | float) and not isinstance(value, bool)
    return f'write "{value}" in quotes' if simple else ""


def read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {described(value)}")
    return value


def _whole(low: int, high: int) -> Reader:
    def read(value: Any) -> int:
        if isinstance(value, str) and high > 2**32 and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"must be a whole number, not {described(value)}")
        # Only the end that was passed: the other is the type's, and the field's own may be nearer.
        if value > high:
            raise Wrong(f"must be at most {high:,}, not {value:,}")
        if value < low:
            raise Wrong(f"must be at least {low:,}, not {value:,}")
        return int(value)

    return read


def write_float(value: float) -> Any:
    """Integral numbers without a fraction, as every reader writes them; NaN as text."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) <= 2**53 and (value or math.copysign(1, value) > 0):
        return int(value)
    return value


def read_float(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"must be a number, not {described(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise Wrong("is too large") from None
    if not math.isfinite(number):
        # As a number it is one like 1e999, which no double holds.
        raise Wrong("is too large")
    return number


def read_float32(value: Any) -> float:
    number = read_float(value)
    try:
        struct.pack("f", number)
    except OverflowError:
        raise Wrong("is too large") from None
    return number


def write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def read_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Wrong(f"must be base64 text, not {described(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("must be base64 text") from None


def enum(descriptor: EnumDescriptor) -> tuple[Writer, Reader]:
    """Values by their lower-case names without the enum's prefix; unknown ones as numbers."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", descriptor.name).upper() + "_"
    by_number = {
        value.number: value.name.removeprefix(prefix).lower() for value in descriptor.values
    }
    by_name = {name: number for number, name in by_number.items()}
    words = [name for name in by_name if name != "unspecified"]

    def read(value: Any) -> int:
        if isinstance(value, str) and value in by_name:
            return by_name[value]
        unknown_number = isinstance(value, int) and not isinstance(value, bool)
        if unknown_number and value not in by_number and abs(value) < 2**31:
            return int(value)
        shown = f'"{value}"' if isinstance(value, str) else described(value)
        hint = suggestion(value, words) if isinstance(value, str) else ""
        raise Wrong(f"must be one of {', '.join(words)}, not {shown}", hint)

    return _Names(by_number).__getitem__, read


class _Names(dict[int, Any]):
    """Names by number; a number that has none stands for itself."""

    def __missing__(self, number: int) -> int:
        return number


def map_key(field: FieldDescriptor) -> tuple[Writer, Reader]:
    """Keys of maps, which JSON only has as text."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return same, read_text
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda key: "true" if key else "false", _read_bool_key
    low, high = _RANGES[field.cpp_type]
    read_number = _whole(low, high)

    def read(key: Any) -> int:
        if not isinstance(key, str) or not _WHOLE.fullmatch(key):
            raise Wrong("must be a whole number as text")
        return int(read_number(int(key)))

    return str, read


def _read_bool_key(key: Any) -> bool:
    if key not in ("true", "false"):
        raise Wrong('must be "true" or "false"')
    return bool(key == "true")
