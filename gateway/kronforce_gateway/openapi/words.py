"""What the contract's comments say in fixed words, read from them: the first sentence, defaults,
limits, and the reasons with which a call is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor import FieldDescriptor

from kronforce.v1 import error_reason_pb2
from kronforce_client.dialect.schema_values import words

_SENTENCE = re.compile(r"(?<=[.;])\s")
_REASON = re.compile(r"\b[A-Z][A-Z_]{4,}\b")
_CODE = re.compile(r"\[([A-Z_]+)\]$")
_DEFAULT = re.compile(r"Default `?([A-Za-z0-9_.,]+?)`?\.(?:\s|$)")
_RANGE = re.compile(r"(?<![\w–])(\d[\d,]*)–(\d[\d,]*)(?![\w–])")
_CHARACTERS = re.compile(r"[Aa]t most ([\d,]+) characters")

_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT64,
}
_PREFIX = "ERROR_REASON_"


def summary(comment: str) -> str:
    """The first sentence, as a heading."""
    first = _SENTENCE.split(comment.strip(), 1)[0]
    return first.rstrip(".;")


def reasons(comment: str) -> list[str]:
    """The reasons of refusals that a comment names."""
    known = error_reason_pb2.ErrorReason.keys()
    found = dict.fromkeys(_REASON.findall(comment))
    return [each for each in found if _PREFIX + each in known]


def codes(comments: Mapping[str, str]) -> dict[str, str]:
    """By reason: the name of its status code, and what it means."""
    kind = error_reason_pb2.ErrorReason.DESCRIPTOR
    said = {
        each.name.removeprefix(_PREFIX): comments.get(f"{kind.full_name}.{each.number}", "")
        for each in kind.values
        if each.number
    }
    return {name: found[1] for name, text in said.items() if (found := _CODE.search(text))}


def keywords(field: FieldDescriptor, comment: str) -> dict[str, object]:
    """A field's default and limits."""
    return dict(_keywords(field, comment))


def _keywords(field: FieldDescriptor, comment: str) -> Iterator[tuple[str, object]]:
    if field.message_type is not None or field.is_repeated:
        return
    has_default = _DEFAULT.search(comment)
    if has_default and (value := _value(field, has_default[1])) is not None:
        yield "default", value
    if field.cpp_type in _WHOLE and (found := _RANGE.search(comment)):
        low, high = _number(found[1]), _number(found[2])
        # What is not sent is 0, and stands for the default.
        yield "minimum", min(low, 0) if has_default and not field.has_presence else low
        yield "maximum", high
    if field.type == FieldDescriptor.TYPE_STRING and (found := _CHARACTERS.search(comment)):
        yield "maxLength", _number(found[1])


def _value(field: FieldDescriptor, text: str) -> object:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text)
    if field.cpp_type in _WHOLE:
        return _number(text) if re.fullmatch(r"[\d,]+", text) else None
    if field.enum_type is not None:
        return text if text in words(field.enum_type).values() else None
    return None


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def paragraphs(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)
