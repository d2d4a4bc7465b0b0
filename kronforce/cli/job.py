"""`job get`, `list`, `delete`, `pause`, `resume`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.missing import naming_similar
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, as_yaml, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, relative
from kronforce.v1.job_pb2 import Job, JobStatus
from kronforce_client import Client, dialect
from kronforce_client.apply import OUTPUT_ONLY
from kronforce_client.handle import state_word

Switch = Annotated[bool, Parameter(negative=())]


def get(name: str, /) -> None:
    """One job: its definition, when it fires next, how it went last.

    Parameters
    ----------
    name
        The job's name or id.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.get(name)
        note = "" if is_data(session) else _note(client, job)
    if is_data(session):
        show_row(session, job, name=_name)
        return
    written = dialect.render(job, omit_defaults=True)
    definition = {key: value for key, value in written.items() if key not in OUTPUT_ONLY}
    print(as_yaml(definition), end="")
    for line in [*_about(session, job), note]:
        if line:
            session.say(line)


def list_jobs(
    *,
    group: str = "",
    status: str = "",
    tag: str = "",
    label: str = "",
    search: str = "",
    limit: int = 100,
) -> None:
    """All jobs, by name.

    Parameters
    ----------
    group
        Only this group.
    status
        Only scheduled, paused or unscheduled ones.
    tag
        Only jobs with this tag.
    label
        Only jobs with this label: key=value, or key for any value.
    search
        Only names that contain this.
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.jobs.page(
            group=group,
            status=_status(status),
            tag=tag,
            label=label,
            search=search,
            page_size=limit,
        )
    show_list(session, page.jobs, _columns(session), name=_name, reply=page)
    if page.next_page_token:
        session.say(f"{page.total} in all: --limit shows more")
    elif not page.jobs:
        session.say("no jobs    kronforce job init writes one")


def delete(name: str, /, *, yes: Switch = False) -> None:
    """Delete a job: waiting runs end cancelled, running ones run on.

    Parameters
    ----------
    name
        The job's name or id.
    yes
        Do not ask.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.get(name)
        if not yes:
            session.ask(f'Delete job "{job.name}"?', "--yes")
        reply = client.jobs.delete(job.id, etag=job.etag)
    if is_data(session):
        show_row(session, reply, name=lambda _: job.name)
        return
    ended = f", {reply.cancelled_runs} waiting runs cancelled" if reply.cancelled_runs else ""
    print(f"{job.name} deleted{ended}")


def pause(name: str, /, *, until: str | None = None) -> None:
    """Hold a job's schedule; firing it by hand still works.

    Parameters
    ----------
    name
        The job's name or id.
    until
        Resume by itself at this instant, such as 2026-12-01T06:00:00+01:00.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.pause(name, until=_instant(until))
    _changed(session, job, "paused")


def resume(name: str, /) -> None:
    """Let a held schedule fire again, from now on.

    Parameters
    ----------
    name
        The job's name or id.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=name):
        job = client.jobs.resume(name)
    _changed(session, job, "resumed")


def _changed(session: Session, job: Job, done: str) -> None:
    if is_data(session):
        show_row(session, job, name=_name)
        return
    print(f"{job.name} {done}")
    for line in _about(session, job):
        session.say(line)


def _about(session: Session, job: Job) -> list[str]:
    lines = []
    if job.HasField("next_fire_at"):
        when = relative(job.next_fire_at, session.clock.now())
        lines.append(f"fires {when}, {absolute(job.next_fire_at, utc=session.settings.utc)}")
    if job.HasField("paused_until"):
        lines.append(f"paused until {absolute(job.paused_until, utc=session.settings.utc)}")
    if job.HasField("last_run"):
        state, at = state_word(job.last_run.state), job.last_run.created_at
        when = f"{relative(at, session.clock.now())}, {absolute(at, utc=session.settings.utc)}"
        lines.append(f"last run {state}: run {job.last_run.run_id}, triggered {when}")
    return lines


def _note(client: Client, job: Job) -> str:
    """What became of the one instant that a job had, where it has no other."""
    if job.schedule.WhichOneof("kind") != "one_shot" or job.HasField("next_fire_at"):
        return ""
    return client.jobs.preview(job.id, count=1).note


def _columns(session: Session) -> list[Column]:
    now, utc = session.clock.now(), session.settings.utc

    def next_fire(job: Job) -> str:
        return relative(job.next_fire_at, now) if job.HasField("next_fire_at") else "–"

    def next_fire_plain(job: Job) -> str:
        return absolute(job.next_fire_at, utc=utc) if job.HasField("next_fire_at") else ""

    return [
        Column(title="NAME", text=_name, gives=Gives.NAME),
        Column(title="STATUS", text=status_word),
        Column(title="SCHEDULE", text=schedule_text, gives=Gives.TEXT),
        Column(title="NEXT", text=next_fire, plain=next_fire_plain),
        Column(title="LAST RUN", text=_last),
        Column(title="GROUP", text=lambda job: str(job.group), gives=Gives.NAME),
        Column(title="ID", text=lambda job: str(job.id), wide=True),
        Column(title="VERSION", text=lambda job: str(job.version), wide=True),
    ]


def status_word(job: Job) -> str:
    """`scheduled`, `paused`, `unscheduled`."""
    return JobStatus.Name(job.status).removeprefix("JOB_STATUS_").lower()


def schedule_text(job: Job) -> str:
    """A schedule in a few words."""
    schedule = job.schedule
    kind = schedule.WhichOneof("kind")
    if kind == "cron":
        return str(schedule.cron)
    if kind == "interval":
        return f"{schedule.interval.interval_secs} s after each run"
    if kind == "one_shot":
        return f"once {schedule.one_shot.ToJsonString()}"
    return "on demand"


def _last(job: Job) -> str:
    return state_word(job.last_run.state) if job.HasField("last_run") else ""


def _name(job: Job) -> str:
    return str(job.name)


def _status(word: str) -> JobStatus.ValueType | None:
    if not word:
        return None
    try:
        return JobStatus.Value(f"JOB_STATUS_{word.upper()}")
    except ValueError:
        raise UsageError(
            f'"{word}" is not a status', "one of: scheduled, paused, unscheduled"
        ) from None


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise UsageError(
            f'"{text}" is not an instant', "such as 2026-12-01T06:00:00+01:00"
        ) from None
