"""`stats`: how much ran, how it ended, how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message

from kronforce.cli.moments import moment
from kronforce.cli.session import Session, current
from kronforce.cli.show import Column, facts, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, duration
from kronforce.v1.stats_service_pb2 import (
    GetTimelineResponse,
    JobStats,
    OutcomeCounts,
    StatsBucket,
    Tally,
)
from kronforce_client.stats import Bucket, Order

# Where nobody says, and the jobs that are shown.
DEFAULT_SPAN = timedelta(days=7)
TOP = 10

# Columns of the picture of a span: with what stands before it, it fits a small terminal.
COLUMNS = 56
BARS = "▁▂▃▄▅▆▇█"
NONE = "·"

# The words of outcomes, in the order in which people want to know; the first goes well.
OUTCOMES = (
    "succeeded", "failed", "timed_out", "lost", "cancelled", "expired", "rejected", "skipped",
)  # fmt: skip
WRONG = ("failed", "timed_out", "lost")


def stats(
    *,
    since: str | None = None,
    until: str | None = None,
    bucket: Bucket | None = None,
    job: str = "",
    group: str = "",
    by: Order = "runs",
) -> None:
    """How much ran, how it ended and how long it took; -o json has the timeline.

    Parameters
    ----------
    since
        From then on: 7d, 24h, a date or an instant; without an offset in local time. Default 7d.
    until
        Before then; the same forms. Default: now.
    bucket
        Minute, hour or day (UTC); minutes are kept for 3 hours, hours for 8 days.
    job
        Only this job, id or name.
    group
        Only this group.
    by
        Jobs with most of it come first: runs, failures, mean, max (duration) or busy (all of it).
    """
    session = current()
    begin = _instant(session, since, "--since") or session.clock.now() - DEFAULT_SPAN
    end = _instant(session, until, "--until")
    with session.client() as client:
        found = client.stats.timeline(since=begin, until=end, bucket=bucket, job=job, group=group)
        if is_data(session):
            show_row(session, found, name=lambda _: job or group or "all")
            return
        jobs = client.stats.jobs_page(
            order=by, since=begin, until=end, job=job, group=group, page_size=TOP
        )
    facts(session, _facts(session, found))
    if session.output != "tabs" and jobs.jobs:
        print()
        _show_jobs(session, jobs.jobs, jobs)


def _facts(session: Session, found: GetTimelineResponse) -> list[tuple[str, str]]:
    utc, tally = session.settings.utc, found.sum
    runs = [bucket.tally.runs for bucket in found.buckets]
    return [
        ("span", f"{absolute(found.since, utc=utc)} to {absolute(found.until, utc=utc)}"),
        ("runs", outcomes_text(tally.runs)),
        ("went well", rate_text(tally)),
        ("took", _took(tally)),
        ("waited", _secs(tally, "mean_wait_secs", " on average before they started")),
        ("executions", outcomes_text(tally.executions)),
        ("timeline", f"{bars([each.total for each in runs])}  {_each(found)}"),
        ("wrong", bars([_wrong(each) for each in runs]) if _wrong(tally.runs) else ""),
    ]


def outcomes_text(counts: OutcomeCounts) -> str:
    """`1,234: 1,200 succeeded, 34 failed`."""
    parts = [
        f"{getattr(counts, word):,} {word.replace('_', ' ')}"
        for word in OUTCOMES
        if getattr(counts, word)
    ]
    return f"{counts.total:,}: {', '.join(parts)}" if parts else "none ended"


def rate_text(tally: Tally) -> str:
    """`97.2 %`; empty of nothing. Never rounded up to all of them."""
    if not tally.HasField("success_rate"):
        return ""
    percent = tally.success_rate * 100
    shown = f"{percent:.1f}"
    return "99.9 %" if shown == "100.0" and percent < 100 else f"{shown} %"


def bars(numbers: Sequence[int], columns: int = COLUMNS) -> str:
    """A column for each number, or for some of them together where there are too many."""
    width = max(1, -(-len(numbers) // columns))
    sums = [sum(numbers[at : at + width]) for at in range(0, len(numbers), width)]
    most = max(sums, default=0)
    return "".join(BARS[-(-each * len(BARS) // most) - 1] if each else NONE for each in sums)


def _each(found: GetTimelineResponse) -> str:
    """What one column is."""
    word = StatsBucket.Name(found.bucket).removeprefix("STATS_BUCKET_").lower()
    width = max(1, -(-len(found.buckets) // COLUMNS))
    return f"a column is {f'{width} {word}s' if width > 1 else f'1 {word}'}"


def _took(tally: Tally) -> str:
    if not tally.HasField("mean_secs"):
        return ""
    mean, longest = duration(tally.mean_secs), duration(tally.max_secs)
    return f"{mean} on average, {longest} at most, {duration(tally.busy_secs)} in all"


def _secs(row: Message, name: str, behind: str = "") -> str:
    return f"{duration(getattr(row, name))}{behind}" if row.HasField(name) else ""


def _wrong(counts: OutcomeCounts) -> int:
    return sum(getattr(counts, word) for word in WRONG)


def _show_jobs(session: Session, jobs: Sequence[JobStats], reply: Message) -> None:
    columns = [
        Column(title="JOB", text=_name, gives=Gives.NAME),
        Column(title="RUNS", text=lambda row: f"{row.tally.runs.total:,}"),
        Column(title="WRONG", text=lambda row: f"{_wrong(row.tally.runs):,}"),
        Column(title="WELL", text=lambda row: rate_text(row.tally)),
        Column(title="MEAN", text=lambda row: _secs(row.tally, "mean_secs")),
        Column(title="95 %", text=lambda row: _secs(row, "p95_secs")),
        Column(title="LONGEST", text=lambda row: _secs(row.tally, "max_secs")),
        Column(title="IN ALL", text=lambda row: duration(row.tally.busy_secs)),
    ]
    show_list(session, jobs, columns, name=_name, reply=reply)


def _name(row: JobStats) -> str:
    return f"{row.job_name} (deleted)" if row.deleted else row.job_name


def _instant(session: Session, text: str | None, flag: str) -> datetime | None:
    """An instant without a zone is local time, or UTC with --utc."""
    if text is None:
        return None
    zone = UTC if session.settings.utc else None
    return moment(text, now=session.clock.now(), zone=zone, flag=flag)
