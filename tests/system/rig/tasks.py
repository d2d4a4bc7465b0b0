"""What the load's tasks do: note what they did in a file, and print a stream that is known.

The file is written with O_APPEND by one `echo` a line, so its order is the order of what happened.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.system.checker.history import Effect

_PRINTER = (
    "import hashlib,os,sys,time;"
    "d=hashlib.shake_256(os.environ['KRONFORCE_EXECUTION_ID'].encode()).digest(int(sys.argv[1]));"
    "n=int(sys.argv[2]);s=-(-len(d)//n);"
    "[(sys.stdout.buffer.write(d[i*s:(i+1)*s]),sys.stdout.flush(),time.sleep(float(sys.argv[3])))"
    " for i in range(n)]"
)


class Notes:
    """The file in which tasks note what they did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, work: str, *, end: bool = True) -> str:
        """`work` between a note of its start and a note of its end, which keeps its exit code."""
        lines = [
            f'note() {{ echo "$KRONFORCE_EXECUTION_ID $KRONFORCE_FENCE $1" >> {self.path}; }}',
            "note start",
            work,
        ]
        if end:
            lines += ["code=$?", "note end", "exit $code"]
        return "\n".join(lines)

    def effects(self) -> tuple[Effect, ...]:
        """All that was noted; a line that a kill cut short is left out."""
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return ()
        found = [line.split() for line in lines]
        return tuple(
            Effect(execution_id=words[0], fence=int(words[1]), what=words[2])
            for words in found
            if len(words) == 3
        )


def printing(size: int, *, parts: int = 1, pause_secs: float = 0.0) -> str:
    """Print the attempt's own stream of `size` bytes, in so many parts."""
    return f"{sys.executable} -ISc {shlex.quote(_PRINTER)} {size} {parts} {pause_secs}"
