"""JSON text to plain data and back: strict about duplicate keys, NaN and depth."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from kronforce_client.dialect.problems import DialectError, Problem

# Deeper documents are refused; the contract says so of free JSON, and nothing else is that deep.
MAX_DEPTH = 64


def loads(text: str | bytes) -> Any:
    """Plain data of one JSON document. Raises DialectError."""
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _refused(f"is not valid JSON: {error.msg} at {where}") from None
    except UnicodeDecodeError:
        raise _refused("is not valid UTF-8") from None
    except RecursionError:
        raise _refused(f"is nested deeper than {MAX_DEPTH}") from None
    if too_deep(value):
        raise _refused(f"is nested deeper than {MAX_DEPTH}")
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _refused(f'has the key "{twice}" twice in one object')
    return result


def _constant(name: str) -> NoReturn:
    raise _refused(f"has {name}, which JSON does not know")


def _refused(message: str) -> DialectError:
    return DialectError([Problem(path=(), message=f"the document {message}")])
