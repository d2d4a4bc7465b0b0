"""JSON Schema (2020-12) of a message type: what `parse` takes, or what `render` gives, for editors
and other programs.

Compiled from the same descriptors as the codec. What is read is as strict as the codec: unknown
keys fail, null is "not set", a `json_union` is a choice of objects told apart by their tag. What is
written has no null, and says which keys are always there; it is open, since a newer server may
write more. What descriptors do not say (comments, limits, what must be there) is given as `Notes`.
Left to the codec: how deep a document nests, bounds of whole numbers that are written as text, days
that no calendar has, `Any`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from kronforce.v1 import options_pb2
from kronforce_client.dialect import schema_values as values

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Notes:
    """What is known beside the descriptors, by full names (`kronforce.v1.Job.name`).

    `keywords` are merged into the schema of a field. `required` names fields that must be there,
    not null, and unions that must have an arm. With `closed_enums` numbers are no enum values.
    """

    comments: Mapping[str, str] = field(default_factory=dict)
    keywords: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    closed_enums: bool = False


def schema(descriptor: Descriptor, notes: Notes | None = None, *, written: bool = False) -> Schema:
    """The schema of one document; messages inside it are in `$defs`.

    Of what is read, or with `written` of what the codec writes, defaults included.
    """
    compiler = (Written if written else Compiler)(notes or Notes())
    root = compiler.message(descriptor, nullable=False)
    root |= {"$defs": dict(sorted(compiler.defs()))}
    return {"$schema": DRAFT, **root}


class Compiler:
    """Compiles messages as they are read; which others they refer to is found on the way."""

    # Whether null is "not set", and keys that are not known are refused.
    strict = True

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._wanted: dict[str, Descriptor] = {}

    def defs(self) -> Iterator[tuple[str, Schema]]:
        """Every message that is referred to, by its name; some only once others are compiled."""
        done: set[str] = set()
        while missing := self._wanted.keys() - done:
            for name in missing:
                done.add(name)
                yield name, self.message(self._wanted[name], nullable=self.strict)

    def message(self, kind: Descriptor, *, nullable: bool) -> Schema:
        """An object of its fields; one of several where it has a union."""
        unions = [each for each in kind.oneofs if _is_union(each)]
        choices = [self._object(kind, arms) for arms in product(*map(self._arms, unions))]
        about = self._described(kind.full_name)
        if len(choices) > 1:
            # Said once more, so that editors offer every arm and name all of them for a wrong one.
            tags = {"properties": dict(map(_tags, unions))}
            choices = [*choices, {"type": "null"}] if nullable else choices
            return {**about, **tags, "oneOf": choices}
        only = values.nullable(choices[0]) if nullable else choices[0]
        return {**about, **only}

    def _object(self, kind: Descriptor, arms: Iterable[_Part]) -> Schema:
        """An object with its plain fields and what one choice of arms adds."""
        plain = [each for each in kind.fields if not _in_union(each)]
        properties = {each.name: self._property(each) for each in plain}
        required = [each.name for each in plain if self._must(each)]
        title: list[str] = []
        for arm in arms:
            properties = {**arm.properties, **properties}
            required = [*arm.required, *required]
            title += arm.title
        made: Schema = {"title": " ".join(title)} if title else {}
        made |= {"type": "object", "properties": properties}
        if required:
            made["required"] = required
        return made | ({"additionalProperties": False} | _exclusive(kind) if self.strict else {})

    def _must(self, each: FieldDescriptor) -> bool:
        """Whether the key is always there."""
        return each.full_name in self._notes.required

    def _arms(self, union: OneofDescriptor) -> Iterator[_Part]:
        rule = union.GetOptions().Extensions[options_pb2.json_union]
        tag = rule.tag or "type"
        if union.full_name not in self._notes.required:
            # Where other keys may stand, without the tag is something else than with it.
            yield _Part() if self.strict else _Part(properties={tag: {"not": {}}})
        for arm in union.fields:
            yield self._arm(arm, tag, rule.content)

    def _arm(self, arm: FieldDescriptor, tag: str, content: str) -> _Part:
        said = [self._notes.comments.get(name, "") for name in _names(arm)]
        about = {"description": "\n\n".join(said).strip()} if any(said) else {}
        tagged = {tag: {"const": arm.name, **about}}
        if not content:
            assert arm.message_type is not None
            inside = self._object(arm.message_type, ())
            needed = [tag, *inside.get("required", ())]
            return _Part(
                title=[arm.name], properties={**tagged, **inside["properties"]}, required=needed
            )
        if arm.message_type is not None and not arm.message_type.fields:
            nothing = {content: {"type": ["object", "null"], "maxProperties": 0}}
            properties = tagged | (nothing if self.strict else {})
            return _Part(title=[arm.name], properties=properties, required=[tag])
        value = {**self._described(arm.full_name), **self._value(arm, nullable=False)}
        value = values.merged(value, self._notes.keywords.get(arm.full_name, {}))
        return _Part(
            title=[arm.name], properties={**tagged, content: value}, required=[tag, content]
        )

    def _property(self, each: FieldDescriptor) -> Schema:
        value = self._value(each, nullable=self.strict and not self._must(each))
        value = values.merged(value, self._notes.keywords.get(each.full_name, {}))
        return {**self._described(each.full_name, each), **value}

    def _value(self, each: FieldDescriptor, *, nullable: bool) -> Schema:
        if values.is_map(each):
            made = self._map(each)
        elif each.is_repeated:
            made = {"type": "array", "items": self._single(each, nullable=False)}
        else:
            return self._single(each, nullable=nullable)
        return values.nullable(made) if nullable else made

    def _map(self, each: FieldDescriptor) -> Schema:
        assert each.message_type is not None
        entry = each.message_type.fields_by_name
        element = self._single(entry["value"], nullable=False)
        return {"type": "object", **values.keys(entry["key"]), "additionalProperties": element}

    def _single(self, each: FieldDescriptor, *, nullable: bool) -> Schema:
        kind = each.message_type
        if kind is None:
            made = self._scalar(each, closed_enums=self._notes.closed_enums)
        elif kind.full_name in values.KNOWN:
            made = self._known(kind.full_name)
        elif kind.full_name.startswith("google.protobuf.") and "value" in kind.fields_by_name:
            made = self._scalar(kind.fields_by_name["value"], closed_enums=True)
        else:
            return self._reference(kind, nullable=nullable)
        return values.nullable(made) if nullable else dict(made)

    def _scalar(self, each: FieldDescriptor, *, closed_enums: bool) -> Schema:
        return values.scalar(each, closed_enums=closed_enums)

    def _known(self, name: str) -> Schema:
        return dict(values.KNOWN[name])

    def _reference(self, kind: Descriptor, *, nullable: bool) -> Schema:
        reference = {"$ref": f"#/$defs/{self._want(kind)}"}
        return reference if nullable else {**reference, "type": "object"}

    def _want(self, kind: Descriptor) -> str:
        """The name of a message that is referred to."""
        name = self._name(kind)
        assert self._wanted.setdefault(name, kind) is kind, f"two messages are called {name}"
        return name

    def _name(self, kind: Descriptor) -> str:
        return kind.full_name.removeprefix(f"{kind.file.package}.")

    def _described(self, name: str, each: FieldDescriptor | None = None) -> Schema:
        comment = self._notes.comments.get(name, "")
        if each is not None and each.enum_type is not None:
            comment = "\n\n".join([comment, *self._words(each)]).strip()
        return {"description": comment} if comment else {}

    def _words(self, each: FieldDescriptor) -> Iterator[str]:
        """What each word of an enum means, a line each."""
        kind = each.enum_type
        assert kind is not None
        lines = [
            f"- `{word}`: {said}"
            for number, word in values.words(kind).items()
            if number and (said := self._notes.comments.get(f"{kind.full_name}.{number}"))
        ]
        if lines:
            yield "\n".join(lines)


class Written(Compiler):
    """Compiles messages as they are written."""

    strict = False

    def _must(self, each: FieldDescriptor) -> bool:
        return not each.has_presence

    def _scalar(self, each: FieldDescriptor, *, closed_enums: bool) -> Schema:
        return values.written(super()._scalar(each, closed_enums=closed_enums))

    def _known(self, name: str) -> Schema:
        return values.written(super()._known(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What one arm of a union adds to an object; nothing where the union is left out."""

    title: list[str] = field(default_factory=list)
    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)


def _tags(union: OneofDescriptor) -> tuple[str, Schema]:
    """The key that names the arm, and all that it may be."""
    rule = union.GetOptions().Extensions[options_pb2.json_union]
    return rule.tag or "type", {"enum": [arm.name for arm in union.fields]}


def _names(arm: FieldDescriptor) -> list[str]:
    """What has a comment on an arm: the field, and its message."""
    return [arm.full_name, *([arm.message_type.full_name] if arm.message_type else [])]


def _is_union(oneof: OneofDescriptor) -> bool:
    return bool(oneof.GetOptions().HasExtension(options_pb2.json_union))


def _in_union(each: FieldDescriptor) -> bool:
    return each.containing_oneof is not None and _is_union(each.containing_oneof)


def _exclusive(kind: Descriptor) -> Schema:
    """Of a oneof that is no union, one field at most is set; null is "not set"."""
    pairs = [
        pair
        for oneof in kind.oneofs
        if not _is_union(oneof)
        for pair in combinations([each.name for each in oneof.fields], 2)
    ]
    given = {"not": {"type": "null"}}
    both = [{"required": list(pair), "properties": dict.fromkeys(pair, given)} for pair in pairs]
    return {"not": {"anyOf": both}} if both else {}
