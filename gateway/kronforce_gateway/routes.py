"""From a verb and a path to what serves it: a tree of path segments.

A literal segment wins over a variable one (`/api/jobs/groups` is no job), also deeper down: what
leads nowhere below a literal is tried below the variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

T = TypeVar("T")

# Longer paths are nobody's: ids and names have at most 200 characters, escaped 2,400.
MAX_PATH = 8_192


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    variable: _Node[T] | None = None
    ends: dict[str, T] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What serves the call, and what the path's variables hold, in their order."""

    target: T
    values: tuple[str, ...]


class Routes(Generic[T]):
    """The routes of a gateway."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, verb: str, path: str, target: T) -> None:
        """Serve `verb` on `path`, in which `{name}` stands for one segment."""
        node = self._root
        for segment in _segments(path):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        if verb in node.ends:
            raise ValueError(f"{verb} {path} is served twice")
        node.ends[verb] = target

    def find(self, verb: str, raw_path: str) -> Found[T] | None:
        """What serves it; `raw_path` is as it came, percent-encoded."""
        found = self._at(raw_path)
        if found is None or verb not in found.target:
            return None
        return Found(found.target[verb], found.values)

    def verbs(self, raw_path: str) -> list[str]:
        """What may be done with a path; nothing: there is no such path."""
        found = self._at(raw_path)
        return sorted(found.target) if found is not None else []

    def _at(self, raw_path: str) -> Found[Mapping[str, T]] | None:
        if len(raw_path) > MAX_PATH:
            return None
        return _walk(self._root, _segments(raw_path), 0, ())


def _walk(
    node: _Node[T], segments: list[str], at: int, values: tuple[str, ...]
) -> Found[Mapping[str, T]] | None:
    if at == len(segments):
        return Found(node.ends, values) if node.ends else None
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None and (found := _walk(literal, segments, at + 1, values)):
        return found
    if node.variable is not None and segment:
        return _walk(node.variable, segments, at + 1, (*values, _decoded(segment)))
    return None


def _segments(path: str) -> list[str]:
    return path.removeprefix("/").split("/")


def _decoded(segment: str) -> str:
    # Bytes that are no UTF-8 name nothing of ours; the lookup says so.
    return unquote_to_bytes(segment).decode(errors="replace") if "%" in segment else segment
