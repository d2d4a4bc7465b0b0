"""Tables and help pages on a terminal of 80 columns: ids and states stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kronforce.cli.pages import page_for
from kronforce.cli.table import Gives, cut, fit, lines
from kronforce.cli.tree import NOUNS
from kronforce.v1.audit_pb2 import AuditEntry
from tests.fakes.api_server import STATES, Story

LONG = "a-very-long-job-name-that-goes-on-and-on-for-more-than-fifty-characters"
WHY = "waits for an earlier run of the job, as max_concurrent says, and then some"


@pytest.fixture
def screen(cli, monkeypatch):
    """The table of a line on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(*words):
        done = cli(*words, "--no-color", terminal=True)
        assert done.code == 0, done.err
        return done.out.splitlines()

    return show


def test_a_run_list_keeps_ids_states_and_times_whatever_the_why(screen, cli, fake):
    fake.add_job(LONG, Story(state=STATES.EXECUTION_STATE_TIMED_OUT, message=WHY))
    cli("job", "run", LONG, "--wait")
    [run] = fake.runs.values()

    title, row = screen("run", "list")

    assert title.split() == ["RUN", "JOB", "STATE", "TRIGGERED", "TOOK", "BY", "WHY"]
    assert row.startswith(run.id[-8:])
    assert " timed_out " in row
    assert max(map(len, (title, row))) <= 80


def test_a_long_job_name_costs_no_other_column(screen, fake):
    fake.add_job(LONG)
    fake.add_job("b")

    title, row, _ = screen("job", "list")

    assert title.split("  ")[-1] == "GROUP"
    assert "LAST RUN" in title
    assert "a-very" in row
    assert row.index("…") < title.index("STATUS")
    assert len(row) <= 80


def test_an_audit_list_keeps_operations_and_instants(screen, fake):
    entry = AuditEntry(
        actor="someone-with-a-name-of-forty-characters!", operation="job.history_cleared",
        resource_type="job", resource_name=LONG, group="the group of the front end", sequence=1,
    )  # fmt: skip
    entry.at.FromJsonString("2026-11-20T14:03:20Z")
    fake.audit.entries += [entry]

    _, row = screen("audit", "list", "--utc")

    assert row.startswith("11-20 14:03:20")
    assert "job.history_cleared" in row


def test_wide_cuts_nothing(screen, cli, fake):
    fake.add_job(LONG, Story(state=STATES.EXECUTION_STATE_FAILED, message=WHY))
    cli("job", "run", LONG, "--wait")
    [run] = fake.runs.values()

    _, row = screen("run", "list", "-o", "wide")

    assert run.id in row
    assert LONG in row
    assert WHY in row


@pytest.mark.parametrize("words", [["--help"], *([noun, "--help"] for noun in NOUNS)])
def test_every_help_page_fits_and_no_word_runs_into_the_next(words):
    page = page_for(words)
    assert max(map(len, page.splitlines())) <= 80
    for verb, (_, line) in NOUNS.get(words[0], ("", {}))[1].items():
        assert f"  {verb} " in page
        assert f" {line}\n" in page


def test_the_front_page_names_every_verb_once():
    front = page_for(["--help"])
    for noun, (_, verbs) in NOUNS.items():
        section = front.partition(f"\n  {noun} ")[2]
        for verb in verbs:
            assert verb in section


@given(
    st.lists(
        st.tuples(st.text("aé漢 -", min_size=1, max_size=60), st.sampled_from(Gives)),
        min_size=1,
        max_size=8,
    ),
    st.integers(20, 120),
)
def test_a_line_fits_or_everything_that_may_give_way_has(columns, width):
    cells, gives = [text for text, _ in columns], [kind for _, kind in columns]
    widths = fit([cells], gives, width)
    total = sum(widths) + 2 * (len(widths) - 1)
    for cell, wide, kind in zip(cells, widths, gives, strict=True):
        assert wide == cell_len(cell) or kind is not Gives.NOTHING
        assert cell_len(cut(cell, wide, kind)) <= wide
        if total > width and kind is not Gives.NOTHING:
            assert wide <= {Gives.NAME: 16, Gives.TEXT: 12}[kind]
    [line] = lines([cells], gives, width, lambda _, padded: padded)
    assert cell_len(line) <= total
