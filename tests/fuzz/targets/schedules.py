"""Cron lines, zones and instants as strangers write them: refused, or fired within bounded time."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from kronforce.core.job_preview import preview
from kronforce.core.job_rules import validate_job
from kronforce.core.job_settings import effective, zone_of
from kronforce.core.job_timing import plan_timing
from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.cron_grammar import CronError
from kronforce.v1.job_pb2 import Job, NoopTask, Task
from tests.fuzz.inputs import ODD_TEXT, damaged_text, words
from tests.fuzz.target import plain

_CRON = ["*", "0", "59", "/", "-", ",", "L", "W", "#", "?", "MON", "jan", " ", "2", "31", "@daily",
         "7", "*/5", "1-5", "LW", "29", "CRON_TZ=UTC", "99999999999999999999", "H"]  # fmt: skip
_LINES = ["0 0 0 29 2 *", "* * * * * *", "0 30 2 * * *", "0 0 0 L * *", "*/7 1-5 3,4 1-31/2 JAN *"]
lines = words(_CRON) | damaged_text(_LINES)
_INSTANTS = [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),
             datetime(9998, 12, 31, tzinfo=UTC)]  # fmt: skip


def _cron(value: tuple[str, datetime]) -> None:
    line, after = value
    try:
        cron = parse_cron(line)
    except CronError:
        return
    local = after.replace(tzinfo=None)
    for _ in range(3):
        found = cron.next_local(local)
        if found is None:
            return
        assert found > local
        local = found


_ZONES = ["Europe/Berlin", "UTC", "Australia/Lord_Howe", "America/St_Johns", "Etc/GMT+12", "Africa",
          "../../etc/passwd", "/etc/localtime", "posix/UTC", "right/UTC", "localtime", "",
          "."]  # fmt: skip
zones = st.sampled_from(_ZONES) | damaged_text(_ZONES) | ODD_TEXT
numbers = st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1])
# What no document says, but a message can.
seconds = st.none() | st.sampled_from([-(2**63), -1, 0, 1_790_000_000, 253_370_764_799, 2**63 - 1])


def _timed(value: tuple[str, str, int, int, int, int | None, int | None]) -> None:
    line, zone, gap, fold, jitter, starts, expires = value
    job = Job(name="j", task=Task(noop=NoopTask()), jitter_secs=jitter)
    job.schedule.cron = line.encode(errors="replace").decode()
    job.timezone = zone.encode(errors="replace").decode()
    job.dst_gap, job.dst_fold = gap, fold  # type: ignore[assignment]  # also what none is
    if starts is not None:
        job.starts_at.seconds = starts
    if expires is not None:
        job.expires_at.seconds = expires
    now = datetime(2026, 11, 21, tzinfo=UTC)
    if validate_job(job, now):
        return
    settings = effective(job)
    plan_timing(settings, now=now)
    gate = settings.gate(status=0, paused_until=None)
    preview(settings, gate=gate, after=now, count=5, planned=None)
    assert zone_of(job.timezone or "UTC") is not None


timed = st.tuples(
    st.sampled_from(_LINES) | lines, zones, st.integers(0, 4), st.integers(0, 5), numbers, seconds,
    seconds,
)  # fmt: skip

TARGETS = [
    plain("cron", st.tuples(lines, st.sampled_from(_INSTANTS)), _cron),
    plain("zones", timed, _timed, short=100),
]
