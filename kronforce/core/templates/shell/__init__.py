"""Where in a shell command placeholders stand: which quotes, and whether they may be there.

Not a shell: it reads only as much of the grammar (POSIX, and what bash adds where that changes
where a quote ends) as it takes to know what stands around each placeholder. A wrong answer here
could make a value arrive split or with a quote too many, never run as code: in every form the
value comes from an expansion, and what comes from one is not read again. The exceptions are
arithmetic and what commands evaluate (`evaluated.py`), which is why nothing may stand there.
"""

from kronforce.core.templates.shell.problems import Problem
from kronforce.core.templates.shell.scanner import read_command

__all__ = ["Problem", "read_command"]
