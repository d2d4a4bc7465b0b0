"""The text of /metrics: what Prometheus itself would read from it, and the pages about it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kronforce.telemetry import metrics as m
from kronforce.telemetry.histogram import Histogram
from kronforce.telemetry.metrics import FAMILIES, Family, render

CHECKOUT = Path(__file__).resolve().parents[3]
DOCUMENTED = {
    "kronforce_executions_total",
    "kronforce_jobs_total",
    "kronforce_agents_total",
    "kronforce_groups_total",
    "kronforce_jobs_by_task_type",
    "kronforce_db_ok",
    "kronforce_db_size_bytes",
    "kronforce_db_wal_size_bytes",
}


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_a_snapshot_is_read_back_as_it_was_taken() -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(0.5)

    read = samples(
        render(
            {
                m.EXECUTIONS: {("lost",): 3},
                m.DB_OK: {(): 1},
                m.CALLS: {("/a/B", "OK"): 2, ("/a/B", "INTERNAL"): 1},
                m.COMMIT: {("main",): histogram.read()},
            }
        )
    )

    assert read[("kronforce_executions_total", (("status", "lost"),))] == 3
    assert read[("kronforce_db_ok", ())] == 1
    assert read[("kronforce_calls_total", (("code", "INTERNAL"), ("method", "/a/B")))] == 1
    assert read[("kronforce_commit_seconds_bucket", (("le", "0.1"), ("part", "main")))] == 0
    assert read[("kronforce_commit_seconds_bucket", (("le", "+Inf"), ("part", "main")))] == 1
    assert read[("kronforce_commit_seconds_sum", (("part", "main"),))] == 0.5


def test_what_the_snapshot_leaves_out_is_not_in_the_text() -> None:
    assert render({}) == b""


def test_labels_cannot_break_out_of_their_quotes() -> None:
    nasty = 'a"} 1\nkronforce_db_ok 0\\'

    read = samples(render({m.BUILD: {(nasty, "sqlite"): 1}}))

    assert read == {("kronforce_build_info", (("store", "sqlite"), ("version", nasty))): 1}


def test_the_documented_names_are_there() -> None:
    assert {family.name for family in FAMILIES} >= DOCUMENTED


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_says_its_unit_and_what_counts_says_total(family: Family) -> None:
    assert re.fullmatch(r"kronforce_[a-z_]+", family.name)
    assert family.name.endswith("_total") or family.kind != "counter"
    assert family.name.endswith("_seconds") or family.kind != "histogram"
    # Without a unit: what is counted in pieces.
    assert (
        family.kind != "gauge"
        or re.search(r"_(total|bytes|seconds|info)$", family.name)
        or (re.search(r"_(ok|pending|running|limit|slots|busy|type)$", family.name))
    )
    assert not set(family.labels) & {"job", "instance", "job_name", "agent", "group", "principal"}


def test_the_page_has_a_row_for_every_family_and_no_other() -> None:
    page = (CHECKOUT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(kronforce_\w+)` \| (\w+) \|(.*?)\| .+ \|$", page, re.MULTILINE)

    written = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert written == {(family.name, family.kind, family.labels) for family in FAMILIES}
