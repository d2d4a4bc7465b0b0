"""`doctor`: is this host fit for a controller, and the one that runs on it well?"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.host_flags import HostFlags
from kronforce.cli.progress import Bar, progress_bar
from kronforce.cli.session import Session, current
from kronforce.cli.show import as_yaml, is_data

if TYPE_CHECKING:
    from kronforce.config import Config
    from kronforce.host.asking import Answer
    from kronforce.host.findings import Finding
    from kronforce_client.discovery import Connection

SIGNS = {"fine": "✓", "warning": "!", "wrong": "✗"}
_STYLES = {"fine": "\x1b[32m", "warning": "\x1b[33m", "wrong": "\x1b[31m"}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
# The longest name of a check, and a space.
NAME_WIDTH = 17
# Longer lines are hard to read, shorter ones hold nothing.
MAX_WIDTH, MIN_WIDTH = 100, 50
# A controller of this host that has not answered by then does not answer.
ANSWER_SECS = 5.0
# Agents that are looked at: more than a page has room for.
AGENTS = 1_000


def doctor(
    flags: HostFlags | None = None,
    *,
    thorough: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Look at this host, the data folder and the database, and say what to do where it matters.

    Nothing is changed. A controller may run meanwhile; it is asked about its agents. The exit code
    is 1 if anything is wrong (✗), 0 if there are at most warnings (!).

    Parameters
    ----------
    flags
        Which controller's files.
    thorough
        Read the whole database, however long that takes.
    """
    session = current()
    config = (flags or HostFlags()).load()
    found = []
    with progress_bar() as bar:
        for finding in _findings(session, config, bar, thorough=thorough):
            found.append(finding)
            bar.clear()
            if not is_data(session):
                print(_line(session, finding), flush=True)
    counts = Counter(str(each.verdict) for each in found)
    if is_data(session):
        _data(session, found, counts)
    elif session.output != "tabs":
        print(f"\n{len(found)} findings: {_summary(counts)}")
    return Exit.ERROR if counts["wrong"] else Exit.FINE


def _findings(session: Session, config: Config, bar: Bar, *, thorough: bool) -> Iterator[Finding]:
    from kronforce.host.examination import examine
    from kronforce.host.findings import Surroundings

    def ask(address: str) -> Answer:
        return _ask(_connection(session, config, address))

    where = Surroundings(config=config, clock=session.clock, thorough=thorough, busy=bar, ask=ask)
    return examine(where)


def _connection(session: Session, config: Config, address: str) -> Connection:
    """To the data folder's own controller, whatever else this user works with."""
    from kronforce_client.discovery import Wanted, discover

    environ = {**session.settings.environ, "KRONFORCE_DATA_DIR": str(config.data_dir)}
    return discover(Wanted(address=address, key=session.settings.key), environ)


def _ask(connection: Connection) -> Answer:
    """Its version and its agents. Raises NoAnswer."""
    from kronforce.host.asking import Answer, NoAnswer
    from kronforce_client import Client
    from kronforce_client.errors import ClientError, TimedOut, Unreachable

    try:
        with Client(connection=connection, timeout_secs=ANSWER_SECS) as client:
            agents = list(islice(client.agents.list(), AGENTS))
            return Answer(version=client.system.status().version, agents=agents)
    except ClientError as error:
        deaf = isinstance(error, Unreachable | TimedOut)
        raise NoAnswer(error.message, deaf=deaf) from error


def _line(session: Session, finding: Finding) -> str:
    verdict = str(finding.verdict)
    if session.output == "tabs":
        return "\t".join((verdict, finding.check, finding.message, finding.way_out))
    coloured = session.settings.colours(sys.stdout.isatty())
    sign = f"{_STYLES[verdict]}{SIGNS[verdict]}{_RESET}" if coloured else SIGNS[verdict]
    lines = [f"{sign} {finding.check:<{NAME_WIDTH}}" + _wrapped(finding.message)]
    if finding.way_out:
        hint = _wrapped(finding.way_out, "→ ")
        indent = " " * (NAME_WIDTH + 2)
        lines.append(indent + (f"{_DIM}{hint}{_RESET}" if coloured else hint))
    return "\n".join(lines)


def _wrapped(text: str, mark: str = "") -> str:
    """Below its own beginning, in what the name leaves of the line."""
    width = min(MAX_WIDTH, max(MIN_WIDTH, shutil.get_terminal_size().columns))
    indent = " " * (NAME_WIDTH + 2)
    lines = textwrap.wrap(
        mark + text,
        width - len(indent),
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"\n{indent}".join(lines)


def _summary(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[verdict]} {sign}" for verdict, sign in SIGNS.items())


def _data(session: Session, found: list[Finding], counts: Counter[str]) -> None:
    rows = [
        {
            "check": each.check,
            "verdict": str(each.verdict),
            "message": each.message,
            **({"way_out": each.way_out} if each.way_out else {}),
        }
        for each in found
    ]
    if session.output == "json":
        whole = {"data": rows, **{verdict: counts[verdict] for verdict in SIGNS}}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
    for row in rows if session.output != "json" else ():
        if session.output == "jsonl":
            print(json.dumps(row, ensure_ascii=False))
        elif session.output == "yaml":
            print(f"---\n{as_yaml(row)}", end="")
        else:
            print(row["check"])
