"""What a job's runs take as input: the declared parameters, and a run's values held against them.

Pure. A job's list is checked when it is saved; `Parameters` is made of it once
per version and fills every trigger's input: values in their type's own form,
defaults where none is given. A job without parameters takes anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from kronforce.core.params_rules import params_problems
from kronforce.core.params_text import text_of
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import (
    PARAM_TYPE_BOOLEAN,
    PARAM_TYPE_NUMBER,
    PARAM_TYPE_SELECT,
    PARAM_TYPE_TEXT,
    PARAM_TYPE_UNSPECIFIED,
    Parameter,
    ParamType,
)

Problem = tuple[str, str]

PARAMETERS_MAX = 100
NAME_MAX = 100
OPTIONS_MAX = 1_000
DESCRIPTION_MAX = 1_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WORDS = {"true": True, "false": False}


class Wrong(Exception):
    """Why a value is none of its parameter; completes "params.NAME: …"."""


class Parameters:
    """The declared parameters of one job version, ready to fill inputs."""

    def __init__(self, declared: Sequence[Parameter]) -> None:
        self._declared = [(each.name, each.required, _converter(each)) for each in declared]
        self.names = frozenset(name for name, _, _ in self._declared)
        self._defaults = {
            each.name: _CONVERT[each.param_type](each, each.default)
            for each in declared
            if _is_given(each.default)
        }

    def fill(self, given: Struct) -> Struct:
        """The input in full. Raises InvalidArgument with a violation for each wrong field."""
        problems: list[Problem] = [(f"params.{name}", p) for name, p in self._unknown(given)]
        filled = Struct()
        for name, required, convert in self._declared:
            try:
                value = self._value(given, name, convert, required=required)
            except Wrong as wrong:
                problems.append((f"params.{name}", str(wrong)))
            else:
                if value is not None:
                    filled.fields[name].CopyFrom(value)
        problems += [] if problems else params_problems(filled)
        if problems:
            raise InvalidArgument.of(*problems)
        return filled

    def _value(
        self, given: Struct, name: str, convert: Callable[[Value], Value], *, required: bool
    ) -> Value | None:
        if name in given.fields and _is_given(given.fields[name]):
            return convert(given.fields[name])
        value = self._defaults.get(name)
        if value is None and required:
            raise Wrong("is required")
        return value

    def _unknown(self, given: Struct) -> Iterator[Problem]:
        for name in sorted(given.fields):
            if name not in self.names:
                known = ", ".join(sorted(self.names))
                yield name, f"is no parameter of the job; it takes {known}"


def parameter_problems(declared: Sequence[Parameter], *, scheduled: bool) -> Iterator[Problem]:
    """Everything that is wrong with a job's list; `scheduled`: it must fill without input."""
    if len(declared) > PARAMETERS_MAX:
        yield "parameters", f"has {len(declared)} parameters; at most {PARAMETERS_MAX}"
        return
    seen: set[str] = set()
    for number, each in enumerate(declared):
        place = f"parameters[{number}]"
        if each.name in seen:
            yield f"{place}.name", f"{each.name!r} is declared twice; rename one of them"
        seen.add(each.name)
        for field, problem in _problems(each, scheduled=scheduled):
            yield f"{place}.{field}", problem


def _problems(each: Parameter, *, scheduled: bool) -> Iterator[Problem]:
    if not _NAME.fullmatch(each.name) or len(each.name) > NAME_MAX:
        yield (
            "name",
            f"{each.name!r} is none; use letters, digits and _, not a digit first, at most "
            f"{NAME_MAX}",
        )
    if len(each.description) > DESCRIPTION_MAX:
        yield "description", f"is {len(each.description):,} characters; at most {DESCRIPTION_MAX:,}"
    if each.param_type not in ParamType.values():
        yield "param_type", "is none of text, number, select and boolean"
        return
    wrong_options = list(_option_problems(each))
    yield from wrong_options
    if not wrong_options:
        yield from _default_problems(each, scheduled=scheduled)


def _default_problems(each: Parameter, *, scheduled: bool) -> Iterator[Problem]:
    if not _is_given(each.default):
        if each.required and scheduled:
            yield (
                "default",
                f"is required for {each.name!r}, which every run needs and a schedule gives no "
                "input; set one, or drop required",
            )
        return
    try:
        value = _CONVERT[each.param_type](each, each.default)
    except Wrong as wrong:
        yield "default", str(wrong)
        return
    for _, problem in params_problems(Struct(fields={"default": value})):
        yield "default", problem


def _option_problems(each: Parameter) -> Iterator[Problem]:
    if each.param_type != PARAM_TYPE_SELECT:
        if each.options:
            yield "options", "is for selects alone; set param_type to select"
        return
    if not 1 <= len(each.options) <= OPTIONS_MAX:
        yield "options", f"has {len(each.options):,} choices; from 1 to {OPTIONS_MAX:,}"
    seen: set[str] = set()
    for number, option in enumerate(each.options):
        value = _option_value(option)
        if value is None:
            yield f"options[{number}]", 'is neither text nor {"value": text, "label": text}'
        elif value in seen:
            yield f"options[{number}]", f"{value!r} is there twice"
        else:
            seen.add(value)


def _option_value(option: Value) -> str | None:
    kind = option.WhichOneof("kind")
    if kind == "string_value":
        return str(option.string_value)
    if kind != "struct_value":
        return None
    fields = option.struct_value.fields
    texts = all(value.HasField("string_value") for value in fields.values())
    if not texts or "value" not in fields or not set(fields) <= {"value", "label"}:
        return None
    return str(fields["value"].string_value)


def _is_given(value: Value) -> bool:
    """Whether there is a value; null is none."""
    return value.WhichOneof("kind") not in (None, "null_value")


def _converter(each: Parameter) -> Callable[[Value], Value]:
    if each.param_type == PARAM_TYPE_SELECT:
        options = {text for option in each.options if (text := _option_value(option)) is not None}
        return lambda value: _one_of(options, value)
    convert = _CONVERT[each.param_type]
    return lambda value: convert(each, value)


def _as_text(_each: Parameter, value: Value) -> Value:
    if value.WhichOneof("kind") not in _SCALARS:
        raise Wrong(f"is {_kind(value)}; give text")
    text = text_of(value)
    if "\0" in text:
        raise Wrong("must not contain a NUL character")
    return Value(string_value=text)


def _as_number(_each: Parameter, value: Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return value
    if kind == "string_value" and _NUMBER.fullmatch(value.string_value.strip()):
        return Value(number_value=float(value.string_value))
    raise Wrong(f"is {_kind(value)}; give a number")


def _as_boolean(_each: Parameter, value: Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return value
    if kind == "string_value" and (word := value.string_value.strip().lower()) in _WORDS:
        return Value(bool_value=_WORDS[word])
    raise Wrong(f"is {_kind(value)}; give true or false")


def _as_option(each: Parameter, value: Value) -> Value:
    return _converter(each)(value)


def _one_of(options: set[str], value: Value) -> Value:
    if value.WhichOneof("kind") in _SCALARS and (text := text_of(value)) in options:
        return Value(string_value=text)
    shown = sorted(options)
    more = ", …" if len(shown) > _SHOWN else ""
    raise Wrong(f"is {_kind(value)}; give one of {', '.join(shown[:_SHOWN])}{more}")


# Choices that a refusal names.
_SHOWN = 10
# Characters of a wrong value that a refusal shows.
_QUOTED = 40

_SCALARS = frozenset({"string_value", "number_value", "bool_value"})
_CONVERT: dict[Any, Callable[[Parameter, Value], Value]] = {
    PARAM_TYPE_UNSPECIFIED: _as_text,
    PARAM_TYPE_TEXT: _as_text,
    PARAM_TYPE_NUMBER: _as_number,
    PARAM_TYPE_SELECT: _as_option,
    PARAM_TYPE_BOOLEAN: _as_boolean,
}


def _kind(value: Value) -> str:
    """What somebody gave, for the message."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return "an object"
        case "list_value":
            return "a list"
        case _:
            text = text_of(value)
            return json.dumps(text[:_QUOTED] + "…" * (len(text) > _QUOTED), ensure_ascii=False)
