"""`job next` and `job fires`: when a schedule fires, and what became of each instant it named."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.missing import naming_similar
from kronforce.cli.moments import moment, span_of
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, is_data, short, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import as_datetime, coarse, duration, relative
from kronforce.v1.job_pb2 import Fire, Job, PreviewedFire
from kronforce.v1.job_service_pb2 import PreviewScheduleResponse

SKIPPED = {
    "overlap": "the run before had not started",
    "queue_full": "its queue was full",
    "paused": "it was paused",
    "window": "its window was not open yet",
    "dst_gap": "the clocks went forward over it",
    "downtime": "nobody was there to fire it",
    "deadline": "too late to start",
    "edited": "the job was changed first",
}


def next_fires(
    name: str | None = None,
    /,
    *,
    count: Annotated[int, Parameter(name=["--count", "-n"])] = 10,
    after: str | None = None,
    file: Annotated[str | None, Parameter(name=["--file", "-f"])] = None,
) -> None:
    """When a job fires next, by the code that fires it; with --file before it is saved.

    Parameters
    ----------
    name
        The job's name or id.
    count
        How many instants, up to 1,000.
    after
        Only after this instant, in place of now.
    file
        A job file, or - for standard input; nothing is saved.
    """
    session = current()
    if (name is None) == (file is None):
        raise UsageError("which job?", "kronforce job next NAME, or -f FILE for one to be")
    if file is not None:
        from kronforce.cli.job_apply import read_timing  # noqa: PLC0415 - reads YAML

        for each in read_timing(file):
            _preview(session, each.job, each.job.timezone, count, after)
    elif name is not None:
        with session.client() as client, naming_similar(client, job=name):
            zone = client.jobs.get(name).timezone if after else ""
        _preview(session, name, zone, count, after)


def fires(
    name: str,
    /,
    *,
    since: str | None = None,
    until: str | None = None,
    at: str | None = None,
    limit: int = 100,
) -> None:
    """What became of each instant that a job's schedule named, newest first.

    Parameters
    ----------
    name
        The job's name or id.
    since
        Not before: 7d, 24h, a date or an instant; without an offset in the job's own zone.
    until
        Not after; the same forms.
    at
        What happened then: "2026-11-15 02:30".
    limit
        At most this many rows.
    """
    session = current()
    if at is not None and (since or until):
        raise UsageError("--at stands alone", "or give --since and --until")
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.get(name)
        zone, now = _zone(session, job.timezone), session.clock.now()
        begin = None if since is None else moment(since, now=now, zone=zone, flag="--since")
        end = None if until is None else moment(until, now=now, zone=zone, flag="--until")
        if at is not None:
            begin, end = span_of(at, zone=zone, flag="--at")
        rows: list[Fire] = []
        for row in client.jobs.fires(job.id, since=begin, until=end):
            rows.append(row)
            if len(rows) > limit:
                break
    show_list(session, rows[:limit], _fire_columns(zone), name=lambda row: str(row.run_id))
    _say_why(session, rows[:limit])
    if len(rows) > limit:
        session.say(f"there are more: --limit {limit * 10} shows them")
    elif not rows and not is_data(session):
        session.say(_why_nothing(job, begin, end, now))


def _preview(session: Session, job: Job | str, zone: str, count: int, after: str | None) -> None:
    begin = None
    if after is not None:
        place = _zone(session, zone)
        begin = moment(after, now=session.clock.now(), zone=place, flag="--after")
    name = job if isinstance(job, str) else ""
    with session.client() as client, naming_similar(client, job=name):
        reply = client.jobs.preview(job, count=count, after=begin)
    columns = _next_columns(session, _zone(session, reply.timezone))
    if session.output == "json":
        show_row(session, reply, name=str)
        return
    show_list(session, reply.fires, columns, name=lambda row: str(row.local_time))
    if not is_data(session):
        for line in _about(session, reply):
            session.say(line)


def _about(session: Session, reply: PreviewScheduleResponse) -> list[str]:
    """What the table has no room for."""
    lines = [reply.note] if reply.note else []
    if session.output != "tabs":
        lines += [f"{fire.local_time[:10]}: {fire.note}" for fire in reply.fires if fire.note]
    late = [_jitter(fire) for fire in reply.fires if fire.HasField("fire_at")]
    if late and late[0]:
        lines.append(f"jitter: each fires {duration(late[0])} after the time that is shown")
    return lines


def _jitter(fire: PreviewedFire) -> float:
    return (as_datetime(fire.fire_at) - as_datetime(fire.nominal_at)).total_seconds()


def _next_columns(session: Session, zone: tzinfo) -> list[Column]:
    now = session.clock.now()

    def time(fire: PreviewedFire) -> str:
        if fire.skipped_reason == "dst_gap":
            local = datetime.fromisoformat(fire.local_time)
            return f"{local:%a %Y-%m-%d %H:%M:%S}"
        return _local(as_datetime(fire.nominal_at), zone)

    def when(fire: PreviewedFire) -> str:
        return relative(fire.fire_at, now) if fire.HasField("fire_at") else "–"

    def note(fire: PreviewedFire) -> str:
        if fire.skipped_reason:
            return f"skipped: {fire.skipped_reason}"
        return "see below" if fire.note else ""

    def plain_note(fire: PreviewedFire) -> str:
        return ": ".join(part for part in (fire.skipped_reason, fire.note) if part)

    return [
        Column(title="TIME", text=time, plain=lambda fire: str(fire.local_time)),
        Column(title="FIRES", text=when, plain=_fire_at),
        Column(title="NOTE", text=note, plain=plain_note, gives=Gives.TEXT),
    ]


def _fire_at(fire: PreviewedFire) -> str:
    return fire.fire_at.ToJsonString() if fire.HasField("fire_at") else ""


def _fire_columns(zone: tzinfo) -> list[Column]:
    def first(fire: Fire) -> str:
        return _local(as_datetime(fire.nominal_at), zone)

    def last(fire: Fire) -> str:
        if fire.count == 1 or fire.skipped_reason == "dst_gap":
            return ""
        begin, end = (as_datetime(at).astimezone(zone) for at in (fire.nominal_at, fire.until))
        return f"{end:%H:%M:%S}" if begin.date() == end.date() else f"{end:%Y-%m-%d %H:%M:%S}"

    return [
        Column(title="TIME", text=first),
        Column(title="UNTIL", text=last, plain=lambda f: _plain_until(f, zone)),
        Column(
            title="WHAT",
            text=_what,
            plain=lambda f: str(f.skipped_reason or "fired"),
            gives=Gives.TEXT,
        ),
        Column(title="RUN", text=lambda f: short(f.run_id), plain=lambda f: str(f.run_id)),
        Column(title="TIMES", text=lambda f: str(f.count), wide=True),
        Column(title="LATE MS", text=lambda f: str(f.late_ms), wide=True),
    ]


def _plain_until(fire: Fire, zone: tzinfo) -> str:
    return _local(as_datetime(fire.until), zone) if fire.HasField("until") else ""


def _what(fire: Fire) -> str:
    if fire.skipped_reason:
        return f"{fire.count:,} × {fire.skipped_reason}"
    late = duration(fire.late_ms / 1000)
    return f"caught up, {late} late" if fire.caught_up else f"fired, {late} late"


def _say_why(session: Session, rows: Sequence[Fire]) -> None:
    """The reasons among them, in words."""
    if session.output != "tabs" and not is_data(session):
        reasons = dict.fromkeys(fire.skipped_reason for fire in rows if fire.skipped_reason)
        for reason in reasons:
            session.say(f"{reason}: {SKIPPED.get(reason, 'see the manual')}")


def _why_nothing(job: Job, begin: datetime | None, end: datetime | None, now: datetime) -> str:
    """The ledger is empty there; what a person may take that for."""
    made = as_datetime(job.created_at)
    if end is not None and end < made:
        return f"{job.name} was made later, {coarse((now - made).total_seconds())} ago"
    if begin is not None and begin > now:
        return f"that is to come: kronforce job next {job.name}"
    if begin is None or begin < made:
        ago = coarse((now - made).total_seconds())
        return f"nothing was due since it was made, {ago} ago    kronforce job next {job.name}"
    return f"its schedule named no instant then    kronforce job next {job.name}"


def _zone(session: Session, name: str) -> tzinfo:
    if session.settings.utc or name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CommandError(
            f'this host does not know the time zone "{name}"',
            "--utc shows and reads UTC",
            code=Exit.ERROR,
        ) from None


def _local(at: datetime, zone: tzinfo) -> str:
    """`Mon 2026-11-23 06:00:00 +01:00`, or with `Z` in UTC."""
    local = at.astimezone(zone)
    east = f"{local:%z}"
    offset = "Z" if zone is UTC else f" {east[:3]}:{east[3:5]}"
    return f"{local:%a %Y-%m-%d %H:%M:%S}{offset}"
