"""A run's input as texts: what `{{params.NAME}}` stands for, in tasks and in concurrency keys."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from kronforce.core.templates import TextTemplate

Problem = tuple[str, str]

PREFIX = "params."
KEY_MAX = 200


def texts_of(params: Struct, names: Iterable[str], declared: frozenset[str]) -> dict[str, str]:
    """The values of these names by `params.NAME`; a declared one without a value is empty."""
    found = {}
    for name in names:
        if name in params.fields:
            found[PREFIX + name] = text_of(params.fields[name])
        elif name in declared:
            found[PREFIX + name] = ""
    return found


def text_of(value: Value) -> str:
    """Text as it is, a number without a needless fraction, null as nothing, the rest as JSON."""
    if value.WhichOneof("kind") == "string_value":
        return str(value.string_value)
    plain = _plain(value)
    if plain is None:
        return ""
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "string_value":
            return value.string_value
        case "struct_value":
            fields = value.struct_value.fields
            return {key: _plain(fields[key]) for key in sorted(fields)}
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case _:
            return None


class KeyTemplate:
    """`concurrency_key`: a text over a run's input that tells its slots apart."""

    def __init__(self, text: str) -> None:
        self._text = TextTemplate(text)
        self.params = frozenset(
            name.removeprefix(PREFIX) for name in self._text.names if name.startswith(PREFIX)
        )

    def fill(self, params: Struct) -> str:
        """The key of a run; what has no value stands for nothing."""
        return self._text.fill(texts_of(params, self.params, declared=self.params))


def key_problems(text: str) -> Iterable[Problem]:
    """What is wrong with a `concurrency_key`."""
    if len(text) > KEY_MAX:
        yield "concurrency_key", f"is {len(text)} characters long; at most {KEY_MAX}"
    for name in sorted(TextTemplate(text).names):
        if not name.startswith(PREFIX):
            yield (
                "concurrency_key",
                f"names the variable {name!r}; only parameters may stand in it, as "
                "{{params.NAME}}",
            )
