"""The document's components: the messages of the contract, as they are sent and as they come back.

The two differ: what is sent may leave out nearly everything, what comes back says everything. A
message that goes both ways is two components, `Job` as it is read and `JobInput` as it is written.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kronforce_client.dialect.schema import Compiler, Notes, Schema, Written
from kronforce_client.dialect.shapes import Union, unions_of

PLACE = "#/components/schemas/"
_INPUT = "Input"


def reference(name: str) -> Schema:
    return {"$ref": PLACE + name}


class _Components(Compiler):
    """Messages under names of the document; a union's arms are components too, so that a program
    that is generated from the document can tell them apart by their tag."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(notes)
        self._arms_of: dict[str, Schema] = {}

    def components(self) -> dict[str, Schema]:
        """Everything that was referred to so far, by name."""
        found = dict(self.defs())
        return found | self._arms_of

    def refer(self, kind: Descriptor) -> Schema:
        """A reference to a message."""
        return reference(self._want(kind))

    def value(self, each: FieldDescriptor) -> Schema:
        """What stands for a field, alone."""
        return {**self._described(each.full_name, each), **self._value(each, nullable=False)}

    def described(self, each: FieldDescriptor) -> str:
        """The contract's words on a field."""
        return str(self._described(each.full_name, each).get("description", ""))

    def message(self, kind: Descriptor, *, nullable: bool) -> Schema:
        """A component; whoever refers to it says whether null may stand in its place."""
        unions = list(unions_of(kind).values())
        if len(unions) == 1 and unions[0].oneof.full_name in self._notes.required:
            return self._choice(kind, unions[0])
        return super().message(kind, nullable=False)

    def _choice(self, kind: Descriptor, union: Union) -> Schema:
        names = {}
        for part in self._arms(union.oneof):
            (arm,) = part.title
            names[arm] = f"{self._name(kind)}.{arm}"
            self._arms_of[names[arm]] = self._object(kind, (part,))
        return {
            **self._described(kind.full_name),
            "oneOf": [reference(name) for name in names.values()],
            "discriminator": {
                "propertyName": union.tag,
                "mapping": {arm: PLACE + name for arm, name in names.items()},
            },
        }

    def _reference(self, kind: Descriptor, *, nullable: bool) -> Schema:
        made = self.refer(kind)
        return {"oneOf": [made, {"type": "null"}]} if nullable else made


class Replies(_Components, Written):
    """Messages as the API gives them."""


class Requests(_Components):
    """Messages as the API takes them. `taken`: names of what the API gives."""

    def __init__(self, notes: Notes, taken: frozenset[str]) -> None:
        super().__init__(notes)
        self._taken = taken
        self._bodies: dict[str, Schema] = {}

    def components(self) -> dict[str, Schema]:
        return super().components() | self._bodies

    def _name(self, kind: Descriptor) -> str:
        name = super()._name(kind)
        return name + _INPUT if name in self._taken else name

    def body(self, kind: Descriptor, leave_out: frozenset[str]) -> Schema:
        """A request as a body, without what the path holds."""
        if not leave_out:
            return self.refer(kind)
        name = f"{self._name(kind).removesuffix('Request')}Body"
        made = self.message(kind, nullable=False)
        for each in leave_out:
            made["properties"].pop(each, None)
        if left := [each for each in made.pop("required", ()) if each not in leave_out]:
            made["required"] = left
        self._bodies[name] = made
        return reference(name)

    def change(self, kind: Descriptor) -> Schema:
        """A resource of which only what is to change is sent."""
        name = f"{super()._name(kind)}Update"
        made = self.message(kind, nullable=False)
        made.pop("required", None)
        self._bodies[name] = made
        return reference(name)
