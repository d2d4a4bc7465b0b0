"""Entry point of the `kronforce` command: settings, dispatch, errors, exit codes.

Help pages and `version` are answered before anything heavy is imported; every command is
imported when it is called. Nothing here knows what a command does.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from kronforce.cli.exit_codes import Exit
from kronforce.cli.pages import page_for, version_line
from kronforce.cli.settings import Settings, UsageError, split_settings

# Commands whose flags are their own, under names that clients use too: the server's side, and
# the line that is being completed.
_WITH_OWN_FLAGS = (
    ("up",),
    ("controller",),
    ("gateway",),
    ("agent", "run"),
    ("completion", "words"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Threads of grpc must not break processes that are started later (grpc/grpc#43055).
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # What goes wrong is said once, by us; grpc's own lines on stderr come back with ERROR or INFO.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        return _dispatch(list(arguments))
    except UsageError as error:
        return _fail(Exit.USAGE, [str(error), error.next_step or "kronforce --help"])
    except BrokenPipeError:
        return _reader_left()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    if any(tuple(arguments[: len(each)]) == each for each in _WITH_OWN_FLAGS):
        return _run_command(arguments, Settings())
    settings, rest = split_settings(arguments)
    if rest[:1] in (["version"], ["--version"]):
        print(version_line())
        return Exit.FINE
    page = page_for(rest)
    if page:
        print(page, end="")
        return Exit.FINE if rest else Exit.USAGE
    return _run_command(rest, settings)


def _run_command(arguments: list[str], settings: Settings) -> int:
    from kronforce.cli.commands import run_command
    from kronforce.cli.session import Session, use

    with use(Session(settings=settings)):
        code = run_command(arguments)
    sys.stdout.flush()
    return code


def _fail(code: Exit, lines: Sequence[str]) -> int:
    print(f"error: {lines[0]}", *(f"  {each}" for each in lines[1:]), sep="\n", file=sys.stderr)
    return code


def _reader_left() -> int:
    """The reader of our output went away: end as quietly as other tools do."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else Exit.ERROR


if __name__ == "__main__":
    sys.exit(main())
