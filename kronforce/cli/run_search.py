"""`run logs --grep`: the lines of an output that match, as bytes, while they are read."""

from __future__ import annotations

import sys
from collections.abc import Callable

from kronforce.cli.exit_codes import Exit
from kronforce.cli.run_output import STREAM_NAMES, Part, Wanted, parts_of
from kronforce.cli.session import Session
from kronforce.cli.settings import UsageError
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client
from kronforce_client.lines import LineSplitter, OutputLine, matcher


def search_output(
    session: Session,
    client: Client,
    run: Run,
    wanted: Wanted,
    pattern: str,
    *,
    ignore_case: bool,
) -> int:
    """Write what matches to stdout; gives the exit code."""
    try:
        matches = matcher(pattern, ignore_case=ignore_case)
    except ValueError as error:
        raise UsageError(str(error), "quote it for the shell; \\ takes a sign as it is") from None
    found = 0
    for part in parts_of(client, run, wanted):
        if part.heading:
            session.say(part.heading)
        found += _search(session, part, matches, named=wanted.stream is None)
    return Exit.FINE if found else Exit.ANSWER_IS_NO


def _search(session: Session, part: Part, matches: Callable[[bytes], bool], *, named: bool) -> int:
    splitter = LineSplitter()
    found = 0
    for chunk in part.chunks:
        if chunk.gap_bytes:
            session.say(f"[{chunk.gap_bytes:,} bytes are missing here]")
        for line in splitter.add(chunk):
            found += _show(line, matches, named=named)
        sys.stdout.buffer.flush()
    for line in splitter.end():
        found += _show(line, matches, named=named)
    return found


def _show(line: OutputLine, matches: Callable[[bytes], bool], *, named: bool) -> bool:
    if not matches(line.data):
        return False
    where = f"{STREAM_NAMES[line.stream]}:{line.number}:" if named else f"{line.number}:"
    sys.stdout.buffer.write(where.encode() + line.data + b"\n")
    return True
