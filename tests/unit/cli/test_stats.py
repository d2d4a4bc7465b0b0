"""`kronforce stats`: a span of time in a few lines."""

import json

import pytest

from kronforce.cli.stats import COLUMNS, bars, outcomes_text, rate_text
from kronforce.v1 import stats_service_pb2 as pb


def tally(**runs):
    counts = pb.OutcomeCounts(total=sum(runs.values()), **runs)
    return pb.Tally(runs=counts, executions=counts)


@pytest.fixture
def kept(fake):
    fake.stats.timeline.since.FromJsonString("2026-11-20T10:00:00Z")
    fake.stats.timeline.until.FromJsonString("2026-11-20T13:00:00Z")
    for each in (tally(succeeded=1), tally(), tally(succeeded=6, failed=2)):
        fake.stats.timeline.buckets.add(tally=each)
    whole = tally(succeeded=7, failed=2)
    whole.success_rate = 7 / 9
    whole.mean_secs, whole.max_secs, whole.busy_secs = 1.2, 4.5, 10.8
    fake.stats.timeline.sum.CopyFrom(whole)
    fake.stats.jobs = [
        pb.JobStats(job_name="backup", tally=whole, p95_secs=4.2),
        pb.JobStats(job_name="old", deleted=True, tally=tally(failed=1)),
    ]
    return fake.stats


def test_a_span_is_facts_and_a_picture_of_it(cli, kept):
    lines = dict(line.split("\t") for line in cli("stats", "--utc").out.splitlines())
    assert lines["span"] == "2026-11-20 10:00:00Z to 2026-11-20 13:00:00Z"
    assert lines["runs"] == "9: 7 succeeded, 2 failed"
    assert lines["went well"] == "77.8 %"
    assert lines["took"] == "1.2 s on average, 4.5 s at most, 10.8 s in all"
    assert lines["timeline"] == "▁·█  a column is 1 hour"
    assert lines["wrong"] == "··█"


def test_the_jobs_come_below_for_people(cli, kept):
    out = cli("stats", "-o", "table", "--by", "failures").out
    assert "backup" in out
    assert "old (deleted)" in out
    assert "4.2 s" in out
    assert kept.asked[-1].order == pb.JOB_STATS_ORDER_FAILURES


def test_json_is_the_timeline_of_what_was_asked(cli, kept):
    asked = ("--since", "2026-11-20", "--job", "backup", "--bucket", "hour", "--utc")
    found = json.loads(cli("stats", *asked, "-o", "json").out)
    assert (found["bucket"], found["sum"]["runs"]["total"]) == ("hour", 9)
    [request] = kept.asked
    assert (request.job_id, request.bucket) == ("backup", pb.STATS_BUCKET_HOUR)
    assert request.since.ToJsonString() == "2026-11-20T00:00:00Z"


def test_a_picture_has_a_column_for_some_of_many_and_shows_the_least():
    assert bars([]) == ""
    assert bars([0, 1, 1000]) == "·▁█"
    assert bars([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert len(bars([1] * 1_500)) <= COLUMNS


def test_a_rate_is_whole_only_where_nothing_went_wrong():
    assert rate_text(pb.Tally(success_rate=1)) == "100.0 %"
    assert rate_text(pb.Tally(success_rate=0.99999)) == "99.9 %"
    assert rate_text(pb.Tally()) == ""
    assert outcomes_text(pb.OutcomeCounts()) == "none ended"
