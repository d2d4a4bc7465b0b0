"""YAML that ends at a depth: what is nested deeper is refused before more of it is read.

The library goes on for as long as brackets open, and each costs it as much time as there are open
ones: some kilobytes of them would take minutes, and end at the interpreter's own limit.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError


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

    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = Shallow
    return yaml
