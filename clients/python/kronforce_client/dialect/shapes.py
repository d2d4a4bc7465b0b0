"""What of a message type's descriptor decides its JSON form: unions and maps."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from kronforce.v1 import options_pb2

# Held while types are compiled: no other thread sees one that is half made.
COMPILING = RLock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Union:
    """A oneof that is rendered as one tagged object.

    `{tag: "shell", …fields}`, or `{tag: "cron", content: value}` where there is a content.
    """

    oneof: OneofDescriptor
    tag: str
    content: str


def unions_of(descriptor: Descriptor) -> dict[str, Union]:
    """The oneofs of a type that are marked `json_union`, by name."""
    found = {}
    for oneof in descriptor.oneofs:
        if is_union(oneof):
            rule = oneof.GetOptions().Extensions[options_pb2.json_union]
            found[oneof.name] = Union(oneof=oneof, tag=rule.tag or "type", content=rule.content)
    return found


def is_union(oneof: OneofDescriptor) -> bool:
    """Whether it is marked `json_union`."""
    return bool(oneof.GetOptions().HasExtension(options_pb2.json_union))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def is_empty(field: FieldDescriptor) -> bool:
    """Whether it is a message without fields: its presence says everything."""
    return field.message_type is not None and not field.message_type.fields


def takes_null(field: FieldDescriptor) -> bool:
    """Whether null is a value of it, not its absence."""
    kind = field.message_type
    return kind is not None and kind.full_name == "google.protobuf.Value"
