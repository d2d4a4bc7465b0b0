"""`run watch`: runs as they change, one line a change."""

from __future__ import annotations

from kronforce.cli.exit_codes import Exit, of_outcome
from kronforce.cli.following import Follower
from kronforce.cli.run_names import find_run
from kronforce.cli.session import Session, current
from kronforce.cli.show import is_data, short, show_row
from kronforce.v1.run_pb2 import RunStatus, RunUpdate
from kronforce_client import Client
from kronforce_client.handle import state_word
from kronforce_client.portal import Iteration


def watch(run: str = "", /, *, job: str = "", group: str = "") -> int:
    """Follow one run to its end, or every run of a job or a group from now on.

    Parameters
    ----------
    run
        An id, the end of one, @last, or a job's name for its newest run.
    job
        Every run of this job, from now on.
    group
        Every run of this group, from now on. Default: the group Default.
    """
    session = current()
    ended = RunStatus()
    with session.client() as client, _open(session, client, run, job, group) as updates:
        try:
            for update in updates:
                if update.WhichOneof("update") == "state":
                    ended = update.state
                    _print(session, update)
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
    return of_outcome(state_word(ended.state)) if run else 0


def _open(session: Session, client: Client, run: str, job: str, group: str) -> Iteration[RunUpdate]:
    tell = Follower(session).interruption
    if run:
        return client.runs.watch(runs=[find_run(client, run).id], on_interruption=tell)
    if job:
        return client.runs.watch(job=job, on_interruption=tell)
    return client.runs.watch(group=group or "Default", on_interruption=tell)


def _print(session: Session, update: RunUpdate) -> None:
    status = update.state
    if is_data(session):
        show_row(session, update, name=lambda row: str(row.run_id))
        return
    why = status.message or status.state_reason
    word = state_word(status.state)
    if session.output == "tabs":
        cells = (update.run_id, status.job_name, word, status.agent_name, why)
        print("\t".join(cells), flush=True)
    else:
        where = f" on {status.agent_name}" if status.agent_name else ""
        reason = f": {why}" if why else ""
        print(f"{short(update.run_id)}  {status.job_name}  {word}{where}{reason}", flush=True)
