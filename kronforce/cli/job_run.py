"""`job run`: fire a job, and follow or wait for its run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import of_outcome
from kronforce.cli.following import Follower, detached, follow
from kronforce.cli.missing import naming_similar
from kronforce.cli.params import read_params
from kronforce.cli.session import Session, current
from kronforce.cli.show import is_data, short, show_row
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client
from kronforce_client.handle import state_word

Switch = Annotated[bool, Parameter(negative=())]


def run(
    name: str,
    /,
    *,
    param: Annotated[list[str] | None, Parameter(alias="-p", negative=())] = None,
    params_file: str | None = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    wait: Switch = False,
    timeout: float | None = None,
    priority: int | None = None,
    force: Switch = False,
) -> int:
    """Fire a job once.

    Examples: kronforce job run backup --param day=2026-11-20 --follow

    Parameters
    ----------
    name
        The job's name or id.
    param
        One parameter, KEY=TEXT or KEY:=JSON; may be repeated.
    params_file
        A YAML or JSON file with the parameters.
    follow
        Stream the run's output and end with its outcome. Ctrl-C leaves the run going.
    wait
        Wait for the end without output, and end with the outcome.
    timeout
        With --wait: seconds after which to stop waiting (exit code 8).
    priority
        Higher goes first. Default: the job's.
    force
        Fire outside the job's window too.
    """
    session = current()
    params = read_params(param or [], params_file)
    with session.client() as client, naming_similar(client, job=name):
        if follow:
            return _follow(session, client, name, params, priority, force)
        reply = client.jobs.trigger(name, params=params, priority=priority, force=force)
        for warning in reply.warnings:
            session.warn(f"warning: {warning}")
        if wait:
            return _wait(session, client, reply.run, timeout)
        _print_run(session, reply.run)
    return 0


def _follow(
    session: Session,
    client: Client,
    name: str,
    params: dict[str, object] | None,
    priority: int | None,
    force: bool,
) -> int:
    follower = Follower(session)
    with client.jobs.run(
        name,
        params=params,
        priority=priority,
        force=force,
        on_interruption=follower.interruption,
    ) as handle:
        session.say(f"run {handle.id} of {name}")
        return follow(session, handle, follower)


def _wait(session: Session, client: Client, fired: Run, timeout: float | None) -> int:
    session.say(f"run {fired.id} of {fired.job_name}: waiting")
    try:
        ended = client.runs.wait(fired.id, timeout_secs=timeout)
    except KeyboardInterrupt:
        detached(session, fired.id)
        raise
    _print_run(session, ended)
    return of_outcome(state_word(ended.state))


def _print_run(session: Session, run: Run) -> None:
    if is_data(session):
        show_row(session, run, name=lambda row: str(row.id))
    elif session.output == "tabs":
        print(f"{run.id}\t{state_word(run.state)}")
    else:
        print(f"run {run.id} of {run.job_name}: {state_word(run.state)}")
        if run.HasField("finished_at"):
            session.say(f"explained   kronforce run get {short(run.id)}")
        else:
            session.say(f"follow it   kronforce run logs {short(run.id)} -f")
