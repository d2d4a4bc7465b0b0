"""Text that no store of ours can keep is refused at the door.

PostgreSQL has no NUL character in text, and one value of it would fail a whole
batch. Free JSON is left alone: it is kept as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from kronforce.errors import InvalidArgument

_NUL = "\x00"
_FREE_JSON = (Struct, ListValue, Value)


def check_text(request: Message) -> None:
    """Raises InvalidArgument if any text of the request holds a NUL character."""
    # Most requests have no zero byte at all, and are not looked at any closer.
    if b"\x00" not in request.SerializeToString():
        return
    if found := [(place, "must not contain a NUL character") for place in _places(request, "")]:
        raise InvalidArgument.of(*found)


def _places(message: Message, prefix: str) -> Iterator[str]:
    for field, value in message.ListFields():
        place = prefix + field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _in_map(value, place)
            continue
        items = list(value) if field.is_repeated else [value]
        for number, item in enumerate(items):
            at = f"{place}[{number}]" if field.is_repeated else place
            yield from _in_value(item, at)


def _in_value(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, str):
        if _NUL in value:
            yield place
    elif isinstance(value, Message) and not isinstance(value, _FREE_JSON):
        yield from _places(value, f"{place}.")


def _in_map(pairs: Any, place: str) -> Iterator[str]:
    for key, value in pairs.items():
        texts = [text for text in (key, value) if isinstance(text, str)]
        if any(_NUL in text for text in texts):
            yield f"{place}.{key}"
