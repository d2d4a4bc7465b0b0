"""Label selectors: `os=linux,gpu!=none,region in (a,b),!spot`.

Terms are joined by commas and all must hold. `k=v` and `k==v`, `k!=v` (also
true where k is missing), `k in (…)`, `k notin (…)` (also true where k is
missing), `k` (present), `!k` (missing). Keys may be facts (`fact.os`). The
canonical text is sorted, so that equal selectors make equal routes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Longer ones are generated, and better written as a label of their own.
SELECTOR_MAX = 1000
TERMS_MAX = 32

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[^,()=!\s](?:[^,()=!]*[^,()=!\s])?)?"
_TERM = re.compile(
    rf"""\s*(?:
        (?P<absent>!)\s*(?P<absent_key>{_KEY})
      | (?P<set_key>{_KEY})\s+(?P<set_op>in|notin)\s*\((?P<values>[^()]*)\)
      | (?P<eq_key>{_KEY})\s*(?P<eq_op>==|!=|=)\s*(?P<value>{_VALUE})
      | (?P<present_key>{_KEY})
    )\s*(?P<end>,|$)""",
    re.VERBOSE,
)
_VALUE_ONLY = re.compile(_VALUE)


class SelectorError(ValueError):
    """The selector cannot be read; `position` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One condition. `values` None asks about presence alone."""

    key: str
    negated: bool
    values: tuple[str, ...] | None

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.values is None:
            return (value is None) == self.negated
        return (value in self.values) != self.negated

    @property
    def text(self) -> str:
        if self.values is None:
            return f"!{self.key}" if self.negated else self.key
        if len(self.values) == 1:
            return f"{self.key}{'!=' if self.negated else '='}{self.values[0]}"
        return f"{self.key} {'notin' if self.negated else 'in'} ({','.join(self.values)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selector:
    """A parsed selector; equal ones compare equal however they were written."""

    terms: tuple[Term, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(term.holds(labels) for term in self.terms)

    @property
    def text(self) -> str:
        return ",".join(term.text for term in self.terms)


def parse_selector(text: str) -> Selector:
    """Read a selector; raises SelectorError with the place and the way out."""
    if not text.strip():
        raise SelectorError("is empty; write for example os=linux, or use the target `all`", 0)
    if len(text) > SELECTOR_MAX:
        raise SelectorError(f"is longer than {SELECTOR_MAX} characters", SELECTOR_MAX)
    terms = _read_terms(text)
    if len(terms) > TERMS_MAX:
        raise SelectorError(f"has more than {TERMS_MAX} terms", 0)
    ordered = sorted(terms, key=lambda term: (term.key, term.negated, term.values or ()))
    return Selector(terms=tuple(ordered))


def _read_terms(text: str) -> set[Term]:
    terms: set[Term] = set()
    position = 0
    while True:
        found = _TERM.match(text, position)
        if found is None:
            raise SelectorError(
                f"cannot be read at {text[position : position + 20].strip()!r}; terms are "
                "k=v, k!=v, k in (a,b), k notin (a,b), k, !k, joined by commas",
                position,
            )
        terms.add(_as_term(found, position))
        position = found.end()
        if found["end"] != ",":
            return terms


def _as_term(found: re.Match[str], position: int) -> Term:
    if found["absent_key"]:
        return Term(key=found["absent_key"], negated=True, values=None)
    if found["present_key"]:
        return Term(key=found["present_key"], negated=False, values=None)
    if found["eq_key"]:
        return Term(key=found["eq_key"], negated=found["eq_op"] == "!=", values=(found["value"],))
    values = sorted({value.strip() for value in found["values"].split(",")})
    for value in values:
        if not value or not _VALUE_ONLY.fullmatch(value):
            raise SelectorError(f"has a value {value!r} that no label can have", position)
    return Term(key=found["set_key"], negated=found["set_op"] == "notin", values=tuple(values))
