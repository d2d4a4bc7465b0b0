"""What people are told of a schedule ahead of time."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf import text_format

from kronforce.core.job_preview import Preview, Spent, preview
from kronforce.core.job_settings import effective
from kronforce.v1.job_pb2 import Job

NOW = datetime(2026, 3, 27, 12, tzinfo=UTC)
SCHEDULED, PAUSED = 1, 2
DAILY = 'timezone: "Europe/Berlin" schedule { cron: "0 30 2 * * *" }'


def told(
    text: str,
    *,
    count: int = 3,
    after: datetime = NOW,
    status: int = SCHEDULED,
    paused_until: datetime | None = None,
    planned: datetime | None = None,
) -> Preview:
    settings = effective(text_format.Parse(text, Job()))
    gate = settings.gate(status=status, paused_until=paused_until)
    return preview(settings, gate=gate, after=after, count=count, planned=planned)


def lines(found: Preview) -> list[str]:
    return [
        " ".join(part for part in (fire.local.isoformat(), fire.reason, fire.note) if part)
        for fire in found.fires
    ]


def test_a_time_in_a_gap_says_that_it_comes_later_that_day() -> None:
    assert lines(told(DAILY)) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00 02:30 does not exist: the clocks go from 02:00 to 03:00; "
        "it fires as soon as they have",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_a_gap_leaves_out_is_shown_as_it_would_have_been() -> None:
    found = told(DAILY + " dst_gap: DST_GAP_SKIP")

    assert lines(found)[1] == (
        "2026-03-29T02:30:00+01:00 dst_gap 02:30 does not exist: the clocks go from 02:00 to 03:00"
    )
    assert found.fires[1].fire_at is None
    assert found.fires[1].local.tzname() == "CET"


def test_several_times_that_a_gap_leaves_out_are_one_line() -> None:
    text = 'timezone: "Europe/Berlin" dst_gap: DST_GAP_SKIP schedule { cron: "*/20 * 2 * * *" }'
    after = datetime(2026, 3, 28, 12, tzinfo=UTC)

    assert lines(told(text, count=1, after=after)) == [
        "2026-03-29T02:00:00+01:00 dst_gap 180 times from 02:00 on do not exist: "
        "the clocks go from 02:00 to 03:00"
    ]


@pytest.mark.parametrize(
    ("fold", "which"),
    [("FIRST", ["first"]), ("SECOND", ["second"]), ("BOTH", ["first", "second"])],
)
def test_a_time_that_comes_twice_says_which_time_it_is(fold: str, which: list[str]) -> None:
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)
    found = told(DAILY + f" dst_fold: DST_FOLD_{fold}", count=len(which), after=after)

    notes = [fire.note for fire in found.fires]

    assert notes == [f"02:30 comes twice: this is the {word} time" for word in which]


def test_jitter_is_in_the_fire_and_not_in_the_instant() -> None:
    [fire] = told(DAILY + ' jitter_secs: 3600 name: "etl"', count=1).fires

    assert fire.local.isoformat() == "2026-03-28T02:30:00+01:00"
    assert fire.fire_at is not None
    assert timedelta() < fire.fire_at - fire.at <= timedelta(hours=1)


def test_a_pause_swallows_what_lies_in_it() -> None:
    until = datetime(2026, 3, 29, 12, tzinfo=UTC)

    held = told(DAILY, status=PAUSED)
    back = told(DAILY, status=PAUSED, paused_until=until)

    assert [fire.reason for fire in held.fires] == ["paused"] * 3
    assert held.note == "paused: kronforce job resume lets it fire"
    assert [fire.reason for fire in back.fires] == ["paused", "paused", ""]
    assert back.note.startswith("paused until 2026-03-29T12:00:00Z")


def test_the_window_bounds_what_is_listed_and_the_note_says_so() -> None:
    stamp = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp())
    opens, closes = f"starts_at {{ seconds: {stamp} }}", f"expires_at {{ seconds: {stamp} }}"

    later, ended = told(f"{DAILY} {opens}"), told(f"{DAILY} {closes}", count=10)

    assert lines(later)[0] == "2026-04-01T02:30:00+02:00"
    assert later.note == "nothing before starts_at, 2026-04-01T00:00:00Z"
    assert len(ended.fires) == 4
    assert ended.note == "none from expires_at on, 2026-04-01T00:00:00Z"


def test_a_one_shot_fires_once_or_is_past() -> None:
    def at(instant: datetime) -> str:
        return f"schedule {{ one_shot {{ seconds: {int(instant.timestamp())} }} }}"

    ahead, past = told(at(NOW + timedelta(hours=1))), told(at(NOW - timedelta(hours=1)))

    assert lines(ahead) == ["2026-03-27T13:00:00+00:00"]
    assert (past.fires, past.note) == (
        (),
        "its one instant is 2026-03-27T11:00:00Z; one that is past when saved never fires",
    )


@pytest.mark.parametrize(
    ("spent", "note"),
    [
        (
            Spent(fired_at=NOW, run_id="r1"),
            "it fired once, at 2026-03-27T12:00:00Z as run r1: none follows it",
        ),
        (
            Spent(fired_at=NOW + timedelta(hours=2), caught_up=True),
            "it fired once, at 2026-03-27T12:00:00Z, caught up at 2026-03-27T14:00:00Z: "
            "none follows it",
        ),
        (
            Spent(fired_at=NOW, reason="paused"),
            "its one instant, 2026-03-27T12:00:00Z, was skipped (paused): none follows it",
        ),
    ],
)
def test_a_one_shot_says_what_became_of_its_instant(spent: Spent, note: str) -> None:
    settings = effective(
        text_format.Parse(f"schedule {{ one_shot {{ seconds: {int(NOW.timestamp())} }} }}", Job())
    )

    found = preview(
        settings,
        gate=settings.gate(status=3, paused_until=None),
        after=NOW + timedelta(days=1),
        count=3,
        planned=None,
        spent=spent,
    )

    assert (found.fires, found.note) == ((), note)


def test_an_interval_tells_its_next_run_and_what_the_others_wait_for() -> None:
    text = "schedule { interval { interval_secs: 300 } }"

    planned, running = told(text, planned=NOW), told(text)

    assert lines(planned) == ["2026-03-27T12:00:00+00:00"]
    assert planned.note == "then 300 s after the end of each run"
    assert running.note == "300 s after the end of each run; its run has not ended"


def test_on_demand_says_so() -> None:
    assert told("") == Preview(note="on demand: it fires only by a call")
