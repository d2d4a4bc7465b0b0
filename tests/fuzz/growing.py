"""Any message of the contract, grown from a seed: hostile values, unknown arms, deep free JSON.

Not a hypothesis strategy: a message has hundreds of choices, and thousands of messages a second
are wanted. The seed is the input, and the same seed gives the same message.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Value

from tests.fuzz.inputs import EDGES

M = TypeVar("M", bound=Message)

MAX_DEPTH = 4
_INTS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_FLOATS = [0.0, -0.0, 1.5, -1.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, 2.0**53]
_TEXTS = [
    "", "a", "etl", "0 0 2 * * *", "Europe/Berlin", "\x00", "é\u202e\uffff", "x" * 300, " ", "*",
    "%", "_", "a=b,c in (d)", "{{params.a}}", "{{", "failed", "exit:1", "http://x/", "http://[::1",
    "192.0.2.0/24", "2026-01-01T00:00:00Z", "0190c5a4-7b1e-7c3a-9d2f-0123456789ab", "'; DROP --",
    "kfj_" + "0" * 32 + ".x", "job.*", "../..", "\r\nX: y", "name", "Default", "****", "x" * 70_000,
]  # fmt: skip


def grown(chance: random.Random, kind: type[M], known: Sequence[str] = ()) -> M:
    """A message; `known` are texts that are good for something where it goes."""
    return _Grower(chance, [*_TEXTS, *known, *known, *known]).message(kind)


class _Grower:
    def __init__(self, chance: random.Random, texts: Sequence[str]) -> None:
        self._chance = chance
        self._texts = texts
        # Of the fields, so many are set: from nearly none to nearly all.
        self._share = chance.choice((0.1, 0.3, 0.6, 0.95))

    def message(self, kind: type[M]) -> M:
        message = kind()
        self._grow(message, 0)
        return message

    def _grow(self, message: Message, depth: int) -> None:
        if isinstance(message, Value):
            self._value(message, depth)
            return
        descriptor: Descriptor = message.DESCRIPTOR
        if descriptor.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            self._instant(message)
            return
        for field in descriptor.fields:
            if self._chance.random() < self._share:
                self._fill(message, field, depth)

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        inner = field.message_type
        if inner is not None and depth >= MAX_DEPTH:
            return
        if inner is not None and inner.GetOptions().map_entry:
            self._map(getattr(message, field.name), inner, depth)
        elif field.is_repeated:
            self._many(getattr(message, field.name), field, depth)
        elif inner is not None:
            target = getattr(message, field.name)
            target.SetInParent()
            self._grow(target, depth + 1)
        else:
            setattr(message, field.name, self._scalar(field))

    def _many(self, target: Any, field: FieldDescriptor, depth: int) -> None:
        for _ in range(self._chance.choice((0, 1, 2, 3))):
            if field.message_type is not None:
                self._grow(target.add(), depth + 1)
            else:
                target.append(self._scalar(field))

    def _map(self, target: Any, entry: Descriptor, depth: int) -> None:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        for _ in range(self._chance.choice((0, 1, 3))):
            if value.message_type is not None:
                self._grow(target[self._scalar(key)], depth + 1)
            else:
                target[self._scalar(key)] = self._scalar(value)

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.enum_type is not None and self._chance.random() < 0.8:
            return self._chance.choice(field.enum_type.values).number
        if field.cpp_type in _INTS:
            low, high = _INTS[field.cpp_type]
            return min(high, max(low, self._chance.choice(EDGES) * self._chance.choice((1, 1, -1))))
        if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self._chance.choice(_FLOATS)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        text = self._chance.choice(self._texts)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text

    def _instant(self, message: Any) -> None:
        message.seconds = self._chance.choice([0, 1_790_000_000, *EDGES[:12], -(2**63)])
        message.nanos = self._chance.choice([0, 999_999_999, -1, 2**31 - 1])

    def _value(self, value: Value, depth: int) -> None:
        match self._chance.randrange(6):
            case 0:
                value.number_value = self._chance.choice(_FLOATS)
            case 1:
                value.string_value = self._chance.choice(self._texts)
            case 2:
                value.bool_value = True
            case 3 if depth < MAX_DEPTH:
                self._grow(value.struct_value, depth + 1)
            case 4:
                self._tower(value)
            case _:
                value.null_value = 0  # type: ignore[assignment]

    def _tower(self, value: Value) -> None:
        """Lists and objects within each other, as deep as the wire takes and less."""
        for _ in range(self._chance.choice((1, 8, 19, 24, 30))):
            if self._chance.random() < 0.5:
                value = value.list_value.values.add()
            else:
                value = value.struct_value.fields[self._chance.choice(("a", "", "é"))]
        value.string_value = "x"


def from_seed(number: int, kind: Any, known: Sequence[str] = ()) -> Any:
    """The message of a seed, of a class or a descriptor."""
    made = GetMessageClass(kind) if isinstance(kind, Descriptor) else kind
    return grown(random.Random(number), made, known)
