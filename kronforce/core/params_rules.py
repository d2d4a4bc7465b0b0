"""What a run's input must satisfy: the limits of `TriggerJobRequest.params`.

Free JSON is bounded in size and depth, and its integers in range, so that every
reader of JSON sees the same value. Walked without recursion: depth is the
caller's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf.json_format import MessageToJson
from google.protobuf.struct_pb2 import ListValue, Struct, Value

Problem = tuple[str, str]

JSON_BYTES_MAX = 256 << 10
# Readers of protobuf in C++, Java and Python stop at 100 messages within each other, a level of
# JSON is up to three of them, and what carries it (a page of runs, an audit entry) needs the rest.
DEPTH_MAX = 25
# Beyond it neighbouring integers are one number to most readers of JSON.
INTEGER_MAX = 2**53

# A protobuf form this small cannot be too large as JSON: it is at most six times as long
# (each byte of text escaped as \\u00xx), and numbers are at most 25 characters for 9 bytes.
_SURELY_SMALL = JSON_BYTES_MAX // 6


def params_problems(params: Struct) -> list[Problem]:
    """Everything that is wrong with a run's input, by place; at most one for its size."""
    if found := free_json_problems("params", params):
        return found
    if params.ByteSize() > _SURELY_SMALL:
        size = len(MessageToJson(params, indent=None, ensure_ascii=False).encode())
        if size > JSON_BYTES_MAX:
            return [("params", f"is {size:,} bytes as JSON; at most {JSON_BYTES_MAX:,}")]
    return []


def free_json_problems(place: str, free: Struct) -> list[Problem]:
    """What is wrong with any free JSON, by place, but for its size."""
    return list(_walk(place, free))


def is_too_deep(free: Struct) -> bool:
    """Whether it nests deeper than every reader of protobuf follows."""
    level: list[Struct | ListValue] = [free]
    for _ in range(DEPTH_MAX - 1):
        level = [inner for each in level for inner in _inner(each)]
        if not level:
            return False
    return True


def _inner(value: Struct | ListValue) -> Iterator[Struct | ListValue]:
    for each in value.fields.values() if isinstance(value, Struct) else value.values:
        if each.HasField("struct_value"):
            yield each.struct_value
        elif each.HasField("list_value"):
            yield each.list_value


def _walk(root: str, free: Struct) -> Iterator[Problem]:
    waiting = [(f"{root}.{key}", value, 2) for key, value in free.fields.items()]
    while waiting:
        place, value, depth = waiting.pop()
        if depth > DEPTH_MAX:
            yield root, f"is nested deeper than {DEPTH_MAX} levels"
            return
        match value.WhichOneof("kind"):
            case "number_value":
                yield from _number(place, value.number_value)
            case "struct_value":
                fields = value.struct_value.fields.items()
                waiting += [(f"{place}.{key}", inner, depth + 1) for key, inner in fields]
            case "list_value":
                waiting += _items(place, value, depth)
            case None:
                yield place, "has no value; write null"


def _items(place: str, value: Value, depth: int) -> list[tuple[str, Value, int]]:
    items = value.list_value.values
    return [(f"{place}[{index}]", inner, depth + 1) for index, inner in enumerate(items)]


def _number(place: str, number: float) -> Iterator[Problem]:
    if not math.isfinite(number):
        yield place, f"is {number}, which JSON cannot say; write null or text"
    elif number.is_integer() and abs(number) > INTEGER_MAX:
        yield place, "is an integer beyond ±2^53, which JSON readers change; write it as text"
