"""Names that do not exist: says which ones look like them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.session import Session
from kronforce_client import Client, ClientError, NotFound

# Names that are compared; more would make an error slow.
_COMPARED = 1000


@contextmanager
def naming_similar(client: Client, *, job: str = "", agent: str = "") -> Iterator[None]:
    """Turn "no such job" into an error that names jobs which look like it."""
    try:
        yield
    except NotFound as error:
        if job and error.reason == "JOB_NOT_FOUND":
            raise _unknown("job", job, _job_names(client)) from None
        if agent and error.reason == "AGENT_NOT_FOUND":
            raise _unknown("agent", agent, _agent_names(client)) from None
        raise


def warn_unknown_groups(session: Session, client: Client, groups: Sequence[str]) -> None:
    """Say which of these groups are not there: they may be made later, or be misspelt."""
    if not groups:
        return
    try:
        known = [group.name for group in client.groups.page().groups]
    except ClientError:
        return
    for group in groups:
        if group not in known:
            near = difflib.get_close_matches(group, known, n=3, cutoff=0.5)
            hint = f"; groups that look like it: {', '.join(near)}" if near else ""
            session.warn(f'warning: there is no group "{group}" yet{hint}')


def _unknown(noun: str, name: str, known: list[str]) -> CommandError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hints = [f"{noun}s that look like it: {', '.join(near)}"] if near else []
    return CommandError(
        f'there is no {noun} "{name}"', *hints, f"kronforce {noun} list", code=Exit.NOT_FOUND
    )


def _job_names(client: Client) -> list[str]:
    try:
        return [job.name for job in client.jobs.page(page_size=_COMPARED).jobs]
    except ClientError:
        return []


def _agent_names(client: Client) -> list[str]:
    try:
        return [agent.name for agent in client.agents.page(page_size=_COMPARED).agents]
    except ClientError:
        return []
