"""JSON text to plain data and back: strict about UTF-8, duplicate keys, NaN and depth.

What it refuses is looked for only once something was: a first reading stops at the first oddity,
a second one, which keeps every pair of every object, finds out where it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from kronforce_client.dialect.problems import DialectError, Path, Problem

# Deeper documents are refused; the contract says so of free JSON, and nothing else is that deep.
MAX_DEPTH = 64

_BOM = b"\xef\xbb\xbf"


def loads(text: str | bytes) -> Any:
    """Plain data of one JSON document. Raises DialectError."""
    try:
        whole = text if isinstance(text, str) else text.removeprefix(_BOM).decode()
        value = json.loads(whole, object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise _refused("is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _refused(f"is not valid JSON: {error.msg} at {where}") from None
    except _Odd:
        raise _located(whole) from None
    except RecursionError:
        raise _refused(f"is nested deeper than {MAX_DEPTH}") from None
    except ValueError:
        # Python reads no whole number of more than some thousand digits.
        raise _refused("has a number with too many digits") from None
    if too_deep(value):
        raise _located(whole)
    return value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text of plain data."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def too_deep(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested deeper than the limit."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


class _Odd(Exception):
    """The document has what JSON allows nobody to rely on."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Odd
    return result


def _constant(_name: str) -> NoReturn:
    raise _Odd


class _Pairs(list[tuple[str, Any]]):
    """An object with all that it holds, twice or not."""


class _Constant(str):
    """A number that JSON does not have."""

    __slots__ = ()


def _located(text: str) -> DialectError:
    """The first oddity of a document that has one."""
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_Constant)
    except (RecursionError, ValueError):
        return _refused("cannot be read")
    return DialectError([next(_oddities(value, ()))])


def _oddities(value: Any, path: Path) -> Iterator[Problem]:
    if isinstance(value, _Constant):
        yield Problem(path=path, message=f"is {value}, which JSON does not know")
    elif len(path) > MAX_DEPTH:
        yield Problem(path=(), message=f"the document is nested deeper than {MAX_DEPTH}")
    elif isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, each in value:
            if key in seen:
                yield Problem(path=(*path, key), message="stands twice in one object")
            seen.add(key)
            yield from _oddities(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _oddities(each, (*path, index))


def _refused(message: str) -> DialectError:
    return DialectError([Problem(path=(), message=f"the document {message}")])
