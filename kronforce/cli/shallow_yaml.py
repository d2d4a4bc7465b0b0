"""YAML that ends at a depth: what is nested deeper is refused before more of it is read.

The library goes on for as long as brackets open, and each costs it as much time as there are open
ones: some kilobytes of them would take minutes, and end at the interpreter's own limit. For some
of what it does not take it has no error of its own; it has one here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError

# Of versions that it does not know, escapes that are no character, numbers without end.
_OTHER_ERRORS = (AssertionError, OverflowError, ValueError)


def documents(text: str, deepest: int) -> Iterator[Any]:
    """The nodes of documents that are at most so deep. Raises YAMLError."""
    try:
        yield from _reader(deepest).compose_all(text)
    except _OTHER_ERRORS as error:
        raise YAMLError(f"cannot be read as YAML: {error}") from error


def _reader(deepest: int) -> YAML:

    class Shallow(Composer):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > deepest:
                mark = self.parser.peek_event().start_mark
                raise ComposerError(None, None, "is nested too deep", mark)
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = Shallow
    return yaml
