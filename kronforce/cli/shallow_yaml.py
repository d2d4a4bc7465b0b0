"""YAML that ends at a depth: what is nested deeper is refused before more of it is read.

The library goes on for as long as brackets open, and each costs it as much time as there are open
ones: some kilobytes of them would take minutes, and end at the interpreter's own limit. A version
of YAML that it does not know ends it with an assertion.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError

VERSIONS = ((1, 1), (1, 2))


def reader(deepest: int) -> YAML:
    """Reads documents that are at most so deep; others raise the library's own error."""

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

    yaml = _Known(typ="safe", pure=True)
    yaml.Composer = Shallow
    return yaml


class _Known(YAML):
    """One that says which versions it knows."""

    @property
    def version(self) -> Any:
        return super().version

    @version.setter
    def version(self, asked: Any) -> None:
        if asked is not None and tuple(asked) not in VERSIONS:
            named = ".".join(map(str, asked))
            raise YAMLError(f"is of YAML {named}; 1.1 and 1.2 can be read")
        self._version = asked
