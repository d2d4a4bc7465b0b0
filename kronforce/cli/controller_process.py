"""`kronforce controller`: the controller alone, until SIGTERM or Ctrl-C."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.failure import CommandError
from kronforce.cli.parent import end_with_parent
from kronforce.cli.server_flags import ServerFlags
from kronforce.cli.session import current


def controller(
    flags: ServerFlags | None = None,
    *,
    built_in_agent: Annotated[bool, Parameter(show=False, negative=())] = False,
) -> int:
    """Start a controller alone; agents join it with `kronforce agent run`.

    Parameters
    ----------
    flags
        Settings of the server side.
    built_in_agent
        Enrol an agent for this host; `kronforce up` starts it.
    """
    environ = current().settings.environ
    end_with_parent(environ)
    config = (flags or ServerFlags()).load(environ)
    from kronforce import app
    from kronforce.config import CannotStart

    try:
        app.run(config, built_in_agent=built_in_agent)
    except CannotStart as error:
        raise CommandError(str(error)) from error
    return 0
