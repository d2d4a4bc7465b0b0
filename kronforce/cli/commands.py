"""The tree of commands, and what happens when one of them fails.

Every entry names the function by its module, so that calling one command imports that one alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError, code_of, lines_of
from kronforce.cli.session import current
from kronforce.cli.tree import ALONE, NOUNS
from kronforce_client.dialect import DialectError
from kronforce_client.errors import ClientError, Unauthenticated


def build_app() -> App:
    """The parser with every command, none of them imported yet."""
    app = App(name="kronforce", help_flags=["--help", "-h"], version_flags=[], result_action=None)
    for noun, (summary, verbs) in NOUNS.items():
        nest = App(name=noun, help=summary)
        for verb, (target, _) in verbs.items():
            nest.command(target, name=verb)
        app.command(nest)
    for name, (target, _) in ALONE.items():
        app.command(target, name=name)
    return app


def run_command(arguments: Sequence[str]) -> int:
    """Parse and run; every failure becomes text on stderr and an exit code."""
    try:
        result = build_app()(
            _with_stdin(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        return _usage(error, arguments)
    except CommandError as error:
        return _tell([error.message, *error.hints], error.code)
    except DialectError as error:
        return _tell([str(each) for each in error.problems], Exit.ERROR)
    except ClientError as error:
        return _tell(lines_of(error, key_was_sent=_key_was_sent(error)), code_of(error))
    except LookupError as error:
        return _tell([str(error.args[0]) if error.args else str(error)], Exit.NOT_FOUND)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return result if isinstance(result, int) else Exit.FINE


def _with_stdin(arguments: Sequence[str]) -> list[str]:
    """A lone `-` is standard input; the parser would take it for an option."""
    if arguments[:1] != ["job"]:
        return list(arguments)
    return ["/dev/stdin" if word == "-" else word for word in arguments]


def _key_was_sent(error: ClientError) -> bool:
    # Looked up only where it is asked: the connection itself may be what is wrong.
    return not isinstance(error, Unauthenticated) or bool(current().connection().key)


def _usage(error: CycloptsError, arguments: Sequence[str]) -> int:
    words = [word for word in arguments[:2] if not word.startswith("-")]
    command = " ".join(["kronforce", *words])
    return _tell([str(error), f"{command} --help"], Exit.USAGE)


def _tell(lines: Sequence[str], code: int) -> int:
    current().warn(f"error: {lines[0]}", "\x1b[31m")
    for line in lines[1:]:
        print(f"  {line}", file=sys.stderr)
    return code
