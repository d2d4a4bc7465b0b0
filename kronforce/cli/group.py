"""`group list`, `create`, `rename`, `delete`, `assign`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.session import Session, current
from kronforce.cli.show import Column, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, relative
from kronforce.v1.group_pb2 import Group

Switch = Annotated[bool, Parameter(negative=())]


def list_groups() -> None:
    """The groups that your key may see, by name."""
    session = current()
    with session.client() as client:
        page = client.groups.page()
    show_list(session, page.groups, _columns(session), name=_name, reply=page)


def create(name: str, /) -> None:
    """Make an empty group. Saving a job in a group that is not there makes it, too.

    Parameters
    ----------
    name
        1-50 letters, digits, spaces, hyphens and underscores.
    """
    session = current()
    with session.client() as client:
        _changed(session, client.groups.create(name), f"{name} made")


def rename(old_name: str, new_name: str, /) -> None:
    """Rename a group: its jobs and runs go with it, keys and agents that list it too.

    Parameters
    ----------
    old_name
        The name it has.
    new_name
        The name it gets.
    """
    session = current()
    with session.client() as client:
        group = client.groups.rename(old_name, new_name)
    _changed(session, group, f"{old_name} is {group.name} now, {_jobs(group.job_count)}")


def delete(name: str, /, *, yes: Switch = False) -> None:
    """Delete a group: its jobs move to Default, its runs keep its name.

    Parameters
    ----------
    name
        The group's name.
    yes
        Do not ask.
    """
    session = current()
    with session.client() as client:
        if not yes:
            session.ask(f'Delete group "{name}"? Its jobs move to Default.', "--yes")
        reply = client.groups.delete(name)
    if is_data(session):
        show_row(session, reply, name=lambda _: name)
        return
    print(f"{name} deleted, {_jobs(reply.moved_jobs)} moved to Default")


def assign(group: str, /, *jobs: str) -> None:
    """Move jobs to a group: all of them or, when one cannot be, none.

    Parameters
    ----------
    group
        The group's name; one that is not there is made.
    jobs
        Names or ids of up to 1,000 jobs.
    """
    session = current()
    with session.client() as client:
        reply = client.groups.assign(group, jobs)
    if is_data(session):
        show_row(session, reply, name=lambda _: group)
        return
    stayed = len(jobs) - reply.moved_jobs
    were = f", {stayed} were there" if stayed else ""
    print(f"{_jobs(reply.moved_jobs)} moved to {group}{were}")


def _changed(session: Session, group: Group, line: str) -> None:
    if is_data(session):
        show_row(session, group, name=_name)
        return
    print(line)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _columns(session: Session) -> list[Column]:
    now, utc = session.clock.now(), session.settings.utc
    return [
        Column(title="NAME", text=_name, gives=Gives.NAME),
        Column(title="JOBS", text=lambda group: str(group.job_count)),
        Column(
            title="MADE",
            text=lambda group: relative(group.created_at, now),
            plain=lambda group: absolute(group.created_at, utc=utc),
        ),
    ]


def _name(group: Group) -> str:
    return str(group.name)
