"""Text that no store of ours can keep is refused at the door.

PostgreSQL has no NUL character in text, and one value of it would fail a whole
batch. Free JSON is left alone: it is kept as bytes. Places are named by the path
that JSON has, like all violations: of a resource to save, within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from kronforce.errors import InvalidArgument
from kronforce.v1.options_pb2 import json_union

_NUL = "\x00"
_FREE_JSON = (Struct, ListValue, Value)


def check_text(request: Message, within: str = "") -> None:
    """Raises InvalidArgument if any text of the request holds a NUL character.

    `within` is the field that holds the resource, whose fields are named without it.
    """
    # Most requests have no zero byte at all, and are not looked at any closer.
    if b"\x00" not in request.SerializeToString():
        return
    places = [place.removeprefix(f"{within}.") for place in _places(request, "")]
    if places:
        raise InvalidArgument.of(*((place, "must not contain a NUL character") for place in places))


def _places(message: Message, prefix: str) -> Iterator[str]:
    for field, value in message.ListFields():
        place = prefix + _json_name(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _in_map(value, place)
            continue
        items = list(value) if field.is_repeated else [value]
        for number, item in enumerate(items):
            at = f"{place}[{number}]" if field.is_repeated else place
            yield from _in_value(item, at)


def _json_name(field: FieldDescriptor) -> str:
    """Of an arm of a tagged union, where its value stands; empty: beside the tag."""
    oneof = field.containing_oneof
    if oneof is not None and oneof.GetOptions().HasExtension(json_union):
        return str(oneof.GetOptions().Extensions[json_union].content)
    return field.name


def _in_value(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, str):
        if _NUL in value:
            yield place
    elif isinstance(value, Message) and not isinstance(value, _FREE_JSON):
        # An arm that stands beside its tag adds nothing to the path.
        yield from _places(value, place if place.endswith(".") or not place else f"{place}.")


def _in_map(pairs: Any, place: str) -> Iterator[str]:
    for key, value in pairs.items():
        texts = [text for text in (key, value) if isinstance(text, str)]
        if any(_NUL in text for text in texts):
            yield f"{place}.{key}"
