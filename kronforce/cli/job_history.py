"""`job clear-history`: forget a job's runs that have ended."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.missing import naming_similar
from kronforce.cli.session import current
from kronforce.cli.show import is_data, show_row
from kronforce.v1.job_service_pb2 import ClearHistoryResponse


def clear_history(name: str, /, *, yes: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Delete a job's runs that have ended, output and all; the newest one stays.

    Parameters
    ----------
    name
        The job's name or id.
    yes
        Do not ask.
    """
    session = current()
    deleted = 0
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.get(name)
        if not yes:
            session.ask(f'Delete the history of job "{job.name}" but its newest run?', "--yes")
        more = True
        while more:
            reply = client.jobs.clear_history(job.id)
            deleted, more = deleted + reply.deleted_runs, reply.more
            if more:
                session.say(f"{deleted:,} runs deleted so far")
    if is_data(session):
        show_row(session, ClearHistoryResponse(deleted_runs=deleted), name=lambda _: job.id)
    else:
        print(f"job {job.name}: {deleted:,} runs deleted")
