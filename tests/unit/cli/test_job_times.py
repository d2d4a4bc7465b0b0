"""`kronforce job next` and `job fires`."""

import json
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.v1.job_pb2 import Fire, PreviewedFire

BERLIN = "Europe/Berlin"


def stamp(text):
    at = Timestamp()
    at.FromJsonString(text)
    return at


def previewed(nominal, local, **fields):
    return PreviewedFire(nominal_at=stamp(nominal), local_time=local, **fields)


SATURDAY = previewed(
    "2026-03-28T01:30:00Z",
    "2026-03-28T02:30:00+01:00",
    fire_at=stamp("2026-03-28T01:30:10Z"),
)
GAP = previewed(
    "2026-03-29T00:59:59.999999Z",
    "2026-03-29T02:30:00+01:00",
    skipped_reason="dst_gap",
    note="02:30 does not exist",
)
RANGE = Fire(
    nominal_at=stamp("2026-03-01T01:00:00Z"),
    until=stamp("2026-03-01T03:00:00Z"),
    count=3,
    skipped_reason="downtime",
)
FIRED = Fire(
    nominal_at=stamp("2026-03-01T04:00:00Z"), run_id="0" * 28 + "abcdefgh", late_ms=12, count=1
)


def test_people_see_the_wall_clock_and_what_is_odd_about_it(cli, fake):
    fake.add_job("etl", timezone=BERLIN)
    fake.previews = [SATURDAY, GAP]

    done = cli("job", "next", "etl", terminal=True)

    assert "Sat 2026-03-28 02:30:00 +01:00" in done.out
    assert "Sun 2026-03-29 02:30:00" in done.out
    assert "skipped: dst_gap" in done.out
    assert "2026-03-29: 02:30 does not exist" in done.err
    assert "jitter: each fires 10.0 s after" in done.err
    assert "as told" in done.err


def test_programs_get_the_local_time_the_instant_and_the_reason(cli, fake):
    fake.add_job("etl", timezone=BERLIN)
    fake.previews = [SATURDAY, GAP]

    done = cli("job", "next", "etl", "-n", "2")

    assert done.out == (
        "2026-03-28T02:30:00+01:00\t2026-03-28T01:30:10Z\t\n"
        "2026-03-29T02:30:00+01:00\t\tdst_gap: 02:30 does not exist\n"
    )
    assert json.loads(cli("job", "next", "etl", "-o", "json").out)["timezone"] == BERLIN


def test_a_file_is_previewed_and_not_saved(cli, fake, home):
    (home / "etl.yaml").write_text(
        f"name: etl\nschedule: {{type: cron, value: '0 30 2 * * *'}}\ntimezone: {BERLIN}\n"
    )
    fake.previews = [SATURDAY]

    done = cli("job", "next", "-f", "etl.yaml", "--after", "2026-03-27 12:00")

    assert done.code == 0, done.err
    assert fake.jobs == {}
    [request] = fake.asked
    assert request.job.schedule.cron == "0 30 2 * * *"
    # Without an offset, in the job's own zone.
    assert request.after.ToJsonString() == "2026-03-27T11:00:00Z"


def test_a_wrong_schedule_in_a_file_is_placed_and_comes_with_the_right_one(cli, fake, home):
    (home / "etl.yaml").write_text("name: etl\nschedule: {type: cron, value: '0 6 * * 1-5'}\n")

    done = cli("job", "next", "-f", "etl.yaml")

    assert done.code == 1
    assert 'etl.yaml:2  schedule.value  "0 6 * * 1-5" has 5 fields' in done.err
    assert 'did you mean "0 0 6 * * 1-5"?   next: ' in done.err
    assert fake.calls == []


def test_next_wants_a_name_or_a_file(cli):
    assert cli("job", "next").code == 2
    assert cli("job", "next", "etl", "-f", "etl.yaml").code == 2


def test_the_ledger_shows_fires_ranges_and_why(cli, fake):
    fake.add_job("etl", timezone=BERLIN)
    fake.fires = [FIRED, RANGE]

    done = cli("job", "fires", "etl", terminal=True)

    assert "Sun 2026-03-01 05:00:00 +01:00" in done.out
    assert "fired, 12 ms late" in done.out
    assert "3 × downtime" in done.out
    assert "downtime: nobody was there to fire it" in done.err


def test_the_ledger_for_programs_has_one_line_a_row(cli, fake):
    fake.add_job("etl", timezone=BERLIN)
    fake.fires = [FIRED, RANGE]

    done = cli("job", "fires", "etl", "--utc")

    assert done.out == (
        f"Sun 2026-03-01 04:00:00Z\t\tfired\t{FIRED.run_id}\t1\t12\n"
        "Sun 2026-03-01 01:00:00Z\tSun 2026-03-01 03:00:00Z\tdowntime\t\t3\t0\n"
    )


def test_since_takes_a_span_a_date_or_an_instant(cli, fake):
    fake.add_job("etl", timezone=BERLIN)

    before = datetime.now(UTC)
    assert cli("job", "fires", "etl", "--since", "7d").code == 0
    cli("job", "fires", "etl", "--since", "2026-03-01", "--until", "2026-03-02T00:00:00Z")

    span, dates = fake.asked
    ago = before - span.since.ToDatetime(tzinfo=UTC)
    assert timedelta(days=6, hours=23) < ago <= timedelta(days=7)
    assert dates.since.ToJsonString() == "2026-02-28T23:00:00Z"
    assert dates.until.ToJsonString() == "2026-03-02T00:00:00Z"


def test_at_asks_for_a_minute_of_the_jobs_own_clock(cli, fake):
    fake.add_job("etl", timezone=BERLIN)

    for local in ("2026-03-01 02:30", "2026-10-25 02:30", "2026-03-29 02:30"):
        cli("job", "fires", "etl", "--at", local)

    plain, twice, gone = fake.asked
    assert plain.since.ToJsonString() == "2026-03-01T01:30:00Z"
    assert plain.until.ToJsonString() == "2026-03-01T01:30:59.999999Z"
    # It came twice: from the first time to the second.
    assert twice.since.ToJsonString() == "2026-10-25T00:30:00Z"
    assert twice.until.ToJsonString() == "2026-10-25T01:30:59.999999Z"
    # It never was: around the change that left it out.
    assert gone.since.ToDatetime() < datetime(2026, 3, 29, 1) < gone.until.ToDatetime()  # noqa: DTZ001


def test_an_empty_ledger_says_why(cli, fake):
    fake.add_job("etl", timezone=BERLIN)

    said = [
        cli("job", "fires", "etl", *flags).err
        for flags in (["--at", "2020-01-01 02:30"], ["--since", "2999-01-01"], [])
    ]

    assert "etl was made later" in said[0]
    assert "that is to come: kronforce job next etl" in said[1]
    assert "nothing was due since it was made" in said[2]


def test_a_ledger_that_goes_on_says_so(cli, fake):
    fake.add_job("etl")
    fake.fires = [FIRED, RANGE]

    done = cli("job", "fires", "etl", "--limit", "1")

    assert len(done.out.splitlines()) == 1
    assert "--limit 10 shows them" in done.err


def test_what_is_no_time_is_told_with_its_flag(cli, fake):
    fake.add_job("etl")

    done = cli("job", "fires", "etl", "--since", "tuesday")

    assert done.code == 2
    assert '--since: "tuesday" is not a time' in done.err
