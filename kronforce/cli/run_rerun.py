"""`run rerun`: a run again, or all that failed within a span of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.missing import naming_similar
from kronforce.cli.params import read_params
from kronforce.cli.run_names import find_run
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import is_data, short, show_row
from kronforce.cli.times import relative, since_text
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client, ClientError
from kronforce_client.handle import state_word

Switch = Annotated[bool, Parameter(negative=())]

# What counts as failed where whole runs are chosen: nobody wanted these ends.
FAILED = (
    ExecutionState.EXECUTION_STATE_FAILED,
    ExecutionState.EXECUTION_STATE_TIMED_OUT,
    ExecutionState.EXECUTION_STATE_LOST,
)
# More at once is a mistake more often than a wish.
MOST = 1_000
SHOWN = 20


def rerun(
    run: str = "",
    /,
    *,
    failed: Switch = False,
    param: Annotated[list[str] | None, Parameter(name=["--param", "-p"], negative=())] = None,
    params_file: str | None = None,
    since: str = "",
    job: str = "",
    force: Switch = False,
    yes: Switch = False,
) -> int:
    """Run again what a run ran, as its job is defined now.

    Examples: kronforce run rerun @last --param day=2026-11-20;
    kronforce run rerun --failed --since 1h --job etl

    Parameters
    ----------
    run
        An id, the end of one, @last, or a job's name for its newest run.
    failed
        Only the targets that did not succeed; with --since, every run that failed.
    param
        One parameter, KEY=TEXT or KEY:=JSON, in place of all that the run had; may be repeated.
    params_file
        A YAML or JSON file with the parameters, in place of all that the run had.
    since
        In place of a run: all that were triggered so long ago at most (1h, 30m, 2d) and have
        failed, timed out or were lost. Needs --failed.
    job
        With --since: only runs of this job.
    force
        Run outside the job's window too.
    yes
        With --since: do not ask.
    """
    session = current()
    params = read_params(param or [], params_file)
    _check(run, since, job, failed=failed)
    with session.client() as client, naming_similar(client, job=job):
        if since:
            return _many(session, client, since, job, params, force=force, yes=yes)
        found = find_run(client, run)
        made = client.runs.rerun(found.id, params=params, failed_targets_only=failed, force=force)
    for warning in made.warnings:
        session.warn(f"warning: {warning}")
    _print_run(session, made.run)
    return 0


def _check(run: str, since: str, job: str, *, failed: bool) -> None:
    if bool(run) == bool(since):
        raise UsageError("name a run, or say --failed --since 1h", "kronforce run list")
    if since and not failed:
        raise UsageError("--since goes with --failed", "kronforce run rerun --failed --since 1h")
    if job and not since:
        raise UsageError("--job goes with --since", f"its newest run: kronforce run rerun {job}")


def _many(
    session: Session, client: Client, since: str, job: str, params: dict[str, object] | None, *,
    force: bool, yes: bool,
) -> int:  # fmt: skip
    """List what failed, ask, run it again; 1 if any was refused."""
    found = _failed_since(client, since_text(since, session.clock.now()), job)
    if not found:
        session.say(f"nothing that is still to be run again has failed since {since} ago")
        return 0
    _list(session, found)
    if not yes:
        session.ask(f"Run {len(found):,} runs again?", "--yes")
    refused = 0
    for run in found:
        try:
            made = client.runs.rerun(run.id, params=params, failed_targets_only=True, force=force)
            _print_run(session, made.run)
        except ClientError as error:
            refused += 1
            session.warn(f"run {short(run.id)} of {run.job_name}: {error}")
    return 1 if refused else 0


def _failed_since(client: Client, since: datetime, job: str) -> Sequence[Run]:
    """Runs that failed and were not run again, oldest first."""
    found: list[Run] = []
    for state in FAILED:
        found += client.runs.list(job=job, state=state, since=since)
        if len(found) > MOST:
            raise UsageError(
                f"more than {MOST:,} runs have failed since then",
                "name a --job, or a shorter --since",
            )
    again = {run.rerun_of for run in client.runs.list(job=job, since=since)}
    return sorted((run for run in found if run.id not in again), key=_when)


def _when(run: Run) -> int:
    return run.created_at.ToNanoseconds()


def _list(session: Session, found: Sequence[Run]) -> None:
    now = session.clock.now()
    for run in found[:SHOWN]:
        when = relative(run.created_at, now)
        session.warn(f"  {short(run.id)}  {run.job_name}  {state_word(run.state)}  {when}")
    if len(found) > SHOWN:
        session.warn(f"  and {len(found) - SHOWN:,} more")


def _print_run(session: Session, run: Run) -> None:
    if is_data(session):
        show_row(session, run, name=lambda row: str(row.id))
    elif session.output == "tabs":
        print(f"{run.id}\t{state_word(run.state)}\t{run.rerun_of}")
    else:
        print(f"run {run.id} of {run.job_name}: {state_word(run.state)}, again of {run.rerun_of}")
        session.say(f"follow it   kronforce run logs {short(run.id)} -f")
