"""`event tail`: the newest events, and with `-f` those that follow."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.following import Follower
from kronforce.cli.session import Session, current
from kronforce.cli.show import is_data, show_row
from kronforce.cli.times import absolute, as_datetime
from kronforce.v1.event_pb2 import Event
from kronforce_client import Client


def tail(
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    kind: str = "",
    limit: int = 20,
) -> int:
    """The newest events, oldest first.

    Parameters
    ----------
    follow
        Go on with what happens from now on.
    kind
        Only this kind: execution.completed, execution.*, or a prefix with *.
    limit
        How many of the past, up to 1,000.
    """
    session = current()
    with session.client() as client:
        past = client.events.page(kind=kind, page_size=max(1, limit)).events
        shown = list(reversed(past)) if limit else []
        for event in shown:
            _print(session, event)
        if follow:
            return _follow(session, client, kind, past[0].cursor if past else "")
    return 0


def _follow(session: Session, client: Client, kind: str, cursor: str) -> int:
    tell = Follower(session).interruption
    with client.events.watch(kind=kind, cursor=cursor, on_interruption=tell) as events:
        try:
            for event in events:
                _print(session, event)
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
    return 0


def _print(session: Session, event: Event) -> None:
    if is_data(session):
        # Events come one by one, so JSON is one object a line here.
        show_row(session, event, name=lambda row: str(row.cursor))
    elif session.output == "tabs":
        stamp = absolute(event.at, utc=session.settings.utc)
        about = event.run_id or event.job_id or event.agent_id
        print("\t".join((stamp, event.kind, event.message, event.job_name, about)), flush=True)
    else:
        moment = as_datetime(event.at)
        if not session.settings.utc:
            moment = moment.astimezone()
        print(f"{moment:%H:%M:%S}  {event.kind:<22}  {event.message}", flush=True)
