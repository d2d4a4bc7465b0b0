"""What stands for a run on the line: an id, its end, `@last`, or a job's name for its newest."""

from __future__ import annotations

import re

from kronforce.cli.missing import naming_similar
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client, NotFound

# The server searches for four hexadecimal digits or more.
_END_OF_ID = re.compile(r"[0-9a-fA-F][0-9a-fA-F-]{3,35}")


def find_run(client: Client, reference: str) -> Run:
    """The run that a reference stands for; a job's name is its newest run."""
    if reference == "@last":
        return client.runs.last()
    if _END_OF_ID.fullmatch(reference):
        try:
            return client.runs.get(client.runs.resolve(reference))
        except NotFound:
            # A name may look like the end of an id; if it is none either, the id was meant.
            try:
                return client.runs.last(job=reference)
            except NotFound:
                pass
            raise
    with naming_similar(client, job=reference):
        return client.runs.last(job=reference)


def run_id(client: Client, reference: str) -> str:
    """The id of one run; job names are refused, since ending "the newest" may hit another."""
    return client.runs.resolve(reference)
