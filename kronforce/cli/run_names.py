"""What stands for a run on the line: an id, its end, `@last`, or a job's name for its newest."""

from __future__ import annotations

import re

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.missing import naming_similar
from kronforce.cli.settings import UsageError
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client, NeverRan, NotFound

# The server searches for four hexadecimal digits or more.
_END_OF_ID = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{3,35}")


def find_run(client: Client, reference: str) -> Run:
    """The run that a reference stands for; a job's name is its newest run."""
    if reference == "@last":
        return _newest(client, "", "NAME")
    if not _END_OF_ID.fullmatch(reference):
        with naming_similar(client, job=reference):
            return _newest(client, reference, reference)
    try:
        return client.runs.get(client.runs.resolve(reference))
    except NotFound:
        # A name may look like the end of an id; if it is none either, the id was meant.
        try:
            return _newest(client, reference, reference)
        except NotFound:
            pass
        raise


def run_id(client: Client, reference: str) -> str:
    """The id of one run; job names are refused, since ending "the newest" may hit another."""
    if reference != "@last" and not _END_OF_ID.fullmatch(reference):
        raise UsageError(
            f'"{reference}" is no run: an id, the end of one (4 characters or more), or @last',
            f"if it is a job, its runs are in: kronforce run list {reference}",
        )
    return client.runs.resolve(reference)


def _newest(client: Client, job: str, name: str) -> Run:
    try:
        return client.runs.last(job=job)
    except NeverRan as error:
        raise CommandError(
            error.message, f"kronforce job run {name} makes one", code=Exit.NOT_FOUND
        ) from None
