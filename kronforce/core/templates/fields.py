"""Every text of a message that holds a placeholder, found by its descriptors.

Repeated fields, map values and messages within messages included; map keys, bytes and enums are
not texts. A field of a task type that is not known yet is found like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kronforce.core.templates.placeholder import TextTemplate

Steps = tuple[str | int, ...]
"""From a message to one of its texts: field names, each followed by index or key where it has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldTemplate:
    """One text with placeholders, and the way to it."""

    steps: Steps
    text: TextTemplate

    def fill(self, message: Message, values: Mapping[str, str]) -> None:
        """Write the filled text into `message`, a copy of the one that was looked through."""
        at: Any = message
        for step in self.steps[:-1]:
            at = getattr(at, str(step)) if isinstance(at, Message) else at[step]
        last, text = self.steps[-1], self.text.fill(values)
        if isinstance(at, Message):
            setattr(at, str(last), text)
        else:
            at[last] = text


def find_templates(message: Message, steps: Steps = ()) -> Iterator[FieldTemplate]:
    """All of them, in the order of the fields."""
    for field, value in message.ListFields():
        for way, item in _items(field, value):
            path = (*steps, field.name, *way)
            if isinstance(item, Message):
                yield from find_templates(item, path)
            elif isinstance(item, str) and (text := TextTemplate(item)).names:
                yield FieldTemplate(steps=path, text=text)


def _items(field: FieldDescriptor, value: Any) -> Iterator[tuple[Steps, Any]]:
    if _is_map(field):
        yield from (((key,), value[key]) for key in sorted(value))
    elif field.is_repeated:
        yield from (((index,), item) for index, item in enumerate(value))
    else:
        yield (), value


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry
