"""`run logs`: what a run wrote, byte for byte; followed, searched, its end alone, or saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.following import Follower, follow
from kronforce.cli.run_names import find_run
from kronforce.cli.run_output import Wanted, parts_of
from kronforce.cli.run_save import save_output
from kronforce.cli.run_search import search_output
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client


def logs(
    run: str,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    stdout: Annotated[bool, Parameter(negative=())] = False,
    stderr: Annotated[bool, Parameter(negative=())] = False,
    grep: str | None = None,
    ignore_case: Annotated[bool, Parameter(name=["--ignore-case", "-i"], negative=())] = False,
    tail: int | None = None,
    since_offset: int | None = None,
    save: Path | None = None,
) -> int:
    """What a run wrote: its standard output to stdout, its standard error to stderr.

    Parameters
    ----------
    run
        An id, the end of one, @last, or a job's name for its newest run.
    follow
        Go on until the run ends, and end with its outcome.
    stdout
        Only standard output.
    stderr
        Only standard error.
    grep
        Only lines that have this regular expression, with their numbers; ends with 9 if none has.
    ignore_case
        With --grep: upper and lower case are the same.
    tail
        Only the last lines, at most 10,000, of the last 4 MiB.
    since_offset
        Only from this byte on; needs --stdout or --stderr.
    save
        Write it to this file instead.
    """
    wanted = Wanted.of(stdout=stdout, stderr=stderr, tail=tail, since_offset=since_offset)
    _check(follow=follow, grep=grep, tail=tail, since_offset=since_offset, save=save)
    session = current()
    with session.client() as client:
        found = find_run(client, run)
        if grep is not None:
            return search_output(session, client, found, wanted, grep, ignore_case=ignore_case)
        if save is not None:
            return save_output(session, client, found, wanted, save)
        if follow and not found.HasField("finished_at"):
            return _follow(session, client, found)
        _print_stored(session, client, found, wanted)
    return 0


def _check(
    *,
    follow: bool,
    grep: str | None,
    tail: int | None,
    since_offset: int | None,
    save: Path | None,
) -> None:
    """Refuse what does not go together, before anything is asked of the server."""
    given = {"--grep": grep, "--tail": tail, "--since-offset": since_offset, "--save": save}
    flags = [flag for flag, value in given.items() if value is not None]
    if follow and flags:
        raise UsageError(
            f"--follow does not go with {flags[0]}", "a pipe does: kronforce run logs RUN -f | grep"
        )
    if grep is not None and len(flags) > 1:
        raise UsageError(f"--grep does not go with {flags[1]}", "it searches all of the output")
    if tail is not None and since_offset is not None:
        raise UsageError("--tail does not go with --since-offset", "give one of them")


def _follow(session: Session, client: Client, run: Run) -> int:
    follower = Follower(session)
    with client.runs.handle(
        run.id, include_output=True, on_interruption=follower.interruption
    ) as handle:
        return follow(session, handle, follower)


def _print_stored(session: Session, client: Client, run: Run, wanted: Wanted) -> None:
    follower = Follower(session)
    for part in parts_of(client, run, wanted):
        if part.heading:
            follower.say(part.heading)
        for chunk in part.chunks:
            follower.chunk(chunk)
