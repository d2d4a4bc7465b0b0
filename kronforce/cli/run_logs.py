"""`run logs`: what a run wrote, byte for byte; `-f` goes on until it ends."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.following import Follower, follow
from kronforce.cli.run_names import find_run
from kronforce.cli.session import Session, current
from kronforce.v1.execution_pb2 import Execution, OutputStream
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client
from kronforce_client.handle import state_word

_STREAMS = {
    "both": None,
    "stdout": OutputStream.OUTPUT_STREAM_STDOUT,
    "stderr": OutputStream.OUTPUT_STREAM_STDERR,
}


def logs(
    run: str,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    stdout: Annotated[bool, Parameter(negative=())] = False,
    stderr: Annotated[bool, Parameter(negative=())] = False,
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
    """
    session = current()
    with session.client() as client:
        found = find_run(client, run)
        if follow and not found.HasField("finished_at"):
            return _follow(session, client, found)
        only = "stdout" if stdout and not stderr else "stderr" if stderr and not stdout else "both"
        _print_stored(session, client, found, only)
    return 0


def _follow(session: Session, client: Client, run: Run) -> int:
    follower = Follower(session)
    with client.runs.handle(
        run.id, include_output=True, on_interruption=follower.interruption
    ) as handle:
        return follow(session, handle, follower)


def _print_stored(session: Session, client: Client, run: Run, only: str) -> None:
    follower = Follower(session)
    for execution in run.executions:
        if len(run.executions) > 1:
            follower.say(_heading(execution))
        with client.executions.output(execution.id, stream=_STREAMS[only]) as chunks:
            for chunk in chunks:
                follower.chunk(chunk)


def _heading(execution: Execution) -> str:
    where = f" on {execution.agent_name}" if execution.agent_name else ""
    return f"── attempt {execution.attempt_number}{where}: {state_word(execution.state)}"
