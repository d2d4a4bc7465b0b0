"""Searching, cutting, saving and comparing what runs wrote."""

import pytest

from kronforce.v1.execution_pb2 import OutputChunk
from kronforce_client import output_diff
from tests.fakes.api_server import STDERR, STDOUT, Story

LINES = [
    (STDOUT, b"start\nan Error he"),
    (STDERR, b"error: disk\n"),
    (STDOUT, b"re\nbytes \xff\xfe error\nend"),
]


@pytest.fixture
def ran(cli, fake):
    """A job of which one run has ended, having written this."""

    def run(output, name="work"):
        fake.add_job(name, Story(output=output))
        assert cli("job", "run", name, "--wait").code == 0
        return next(run for run in reversed(fake.runs.values()) if run.job_name == name)

    return run


def test_grep_writes_matching_lines_with_stream_and_number(cli, ran):
    ran(LINES)
    done = cli("run", "logs", "work", "--grep", "error")
    assert done.code == 0
    assert done.raw == b"stderr:1:error: disk\nstdout:3:bytes \xff\xfe error\n"


def test_grep_of_one_stream_in_any_case(cli, ran):
    ran(LINES)
    done = cli("run", "logs", "work", "--grep", "ERROR", "-i", "--stdout")
    assert done.raw == b"2:an Error here\n3:bytes \xff\xfe error\n"


def test_grep_finds_a_last_line_without_its_newline(cli, ran):
    ran(LINES)
    assert cli("run", "logs", "work", "--grep", "^end$").raw == b"stdout:4:end\n"


def test_grep_without_a_match_is_nine(cli, ran):
    ran(LINES)
    done = cli("run", "logs", "work", "--grep", "nowhere")
    assert (done.code, done.out) == (9, "")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--grep", "("], "not a regular expression"),
        (["--grep", "x", "--tail", "3"], "--grep does not go with --tail"),
        (["-f", "--tail", "3"], "--follow does not go with --tail"),
        (["--tail", "0"], "1 to 10,000"),
        (["--since-offset", "5"], "--stdout or --stderr"),
        (["--since-offset", "-5", "--stdout"], "count from 0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(cli, ran, flags, says):
    ran(LINES)
    done = cli("run", "logs", "work", *flags)
    assert done.code == 2
    assert says in done.err


def test_tail_counts_lines_of_both_streams(cli, ran):
    ran(LINES)
    done = cli("run", "logs", "work", "--tail", "2")
    assert done.raw == b"bytes \xff\xfe error\nend"
    assert cli("run", "logs", "work", "--tail", "1", "--stderr").err == "error: disk\n"


def test_since_offset_begins_at_that_byte(cli, ran):
    ran(LINES)
    done = cli("run", "logs", "work", "--stdout", "--since-offset", "9")
    assert done.raw == b"Error here\nbytes \xff\xfe error\nend"


def test_save_writes_the_bytes_as_they_are(cli, ran, home):
    ran(LINES)
    (home / "out").write_bytes(b"what was there")
    assert cli("run", "logs", "work", "--stdout", "--save", "out").code == 0
    assert (home / "out").read_bytes() == b"start\nan Error here\nbytes \xff\xfe error\nend"
    assert [path.name for path in home.glob(".out*")] == []


def test_save_where_nothing_can_be_written_says_so(cli, ran, home):
    ran(LINES)
    done = cli("run", "logs", "work", "--save", "nowhere/out")
    assert done.code == 1
    assert "cannot write nowhere/out" in done.err
    assert cli("run", "logs", "work", "--save", ".").code == 1


def test_a_gap_is_told_and_is_not_among_the_saved_bytes(cli, ran, fake, home):
    run = ran([(STDOUT, b"head\n")])
    fake.chunks[run.id] += [
        OutputChunk(stream=STDOUT, offset=5, gap_bytes=1_000),
        OutputChunk(stream=STDOUT, offset=1_005, data=b"tail\n"),
    ]
    done = cli("run", "logs", "work", "--save", "out")
    assert "1,000 bytes are missing" in done.err
    assert (home / "out").read_bytes() == b"head\ntail\n"


def test_diff_shows_what_differs_and_ends_with_nine(cli, ran):
    first = ran([(STDOUT, b"a\nsame\n\xff\nz\n"), (STDERR, b"noise\n")], "one")
    second = ran([(STDOUT, b"b\nsame\n\xff\nz\n")], "two")
    done = cli("run", "diff", first.id, second.id)
    assert done.code == 9
    assert done.raw.splitlines()[2:] == [
        b"@@ -1,4 +1,4 @@",
        b"-a",
        b"+b",
        b" same",
        b" \xff",
        b" z",
    ]
    assert done.out.startswith(f"--- run {first.id[-8:]} of one\n+++ run {second.id[-8:]} of two\n")


def test_diff_of_the_same_output_is_fine_and_silent_on_stdout(cli, ran):
    first = ran([(STDOUT, b"a\n")], "one")
    second = ran([(STDOUT, b"a\n"), (STDERR, b"noise\n")], "two")
    done = cli("run", "diff", first.id, second.id)
    assert (done.code, done.out) == (0, "")
    assert cli("run", "diff", first.id, second.id, "--stderr").code == 9


def test_diff_refuses_what_is_too_large_before_and_while_reading(cli, ran, monkeypatch):
    first = ran([(STDOUT, b"a\n")], "one")
    second = ran([(STDOUT, b"b\n" * 10)], "two")
    monkeypatch.setattr(output_diff, "DIFF_MAX_LINES", 5)
    done = cli("run", "diff", first.id, second.id)
    assert done.code == 1
    assert "longer than can be compared here" in done.err
    second.executions[0].stdout_bytes = 9 * 1024 * 1024
    done = cli("run", "diff", first.id, second.id)
    assert done.code == 1
    assert "--save FILE" in done.err
