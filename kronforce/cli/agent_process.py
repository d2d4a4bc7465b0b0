"""`kronforce agent run`: an agent on this host; its flags are the agent's own."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.parent import end_with_parent
from kronforce.cli.session import current


def run(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> int:
    """Be an agent on this host until SIGTERM or Ctrl-C.

    Parameters
    ----------
    arguments
        --address HOST:PORT, --name NAME, --token-file FILE, --tags A,B, --labels K=V, --slots N,
        --task-types A,B, --data-dir DIR, --ca FILE, --insecure, --stop-tasks, --stop-within SECS,
        --spool-max BYTES, --log-level LEVEL; `python -m kronforce_agent --help` explains each.
    """
    end_with_parent(current().settings.environ)
    from kronforce_agent.main import main

    try:
        return main(arguments)
    except SystemExit as left:
        # argparse has said what is wrong, or the help.
        sys.stdout.flush()
        return left.code if isinstance(left.code, int) else Exit.USAGE
