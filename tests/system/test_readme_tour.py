"""The README's tour, pasted line by line into a shell beside a fresh `kronforce up`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence

import pytest

from tests.system.rig.tour import (
    CHECKOUT,
    START_LIMIT_SECS,
    TOUR_LIMIT_SECS,
    Pasted,
    Tour,
    code_blocks,
)

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

# Of the lines that begin so: the exit code if it is not 0, and what must be in the output.
EXPECTED: dict[str, tuple[int, Sequence[str]]] = {
    "kronforce status": (0, ["1 of 1 online"]),
    "kronforce job run count": (0, ["line 1\n", "line 6\n", "succeeded"]),
    "kronforce run logs count": (0, ["line 1\n", "line 6\n"]),
    "kronforce run list": (0, ["count\tsucceeded", "hello\tsucceeded"]),
    "kronforce run cancel": (0, ["sleeper"]),
    # Ends with the run, and with the code for a cancelled one.
    "kronforce run watch $RUN": (11, ["cancelled"]),
    "timeout 15 kronforce run watch": (124, ["tick\tsucceeded"]),
    "kronforce job pause tick": (0, ["tick paused"]),
    "kronforce job run greet": (0, ["hello $(whoami), the token is ********"]),
    "kronforce run explain @last": (0, ["ucceeded"]),
    "kronforce job next tick": (0, ["paused"]),
    "kronforce audit list": (0, ["job.triggered"]),
    "kronforce audit verify": (0, ["holds"]),
    "kronforce event tail": (0, ["execution.completed"]),
    "kronforce job delete": (0, ["deleted"]),
    "grpcurl -plaintext 127": (0, ["kronforce.v1.JobService"]),
    "buf curl --protocol grpc --http2-prior-knowledge --list": (0, ["JobService/TriggerJob"]),
}
EXPECTED_OF_CALLS = {
    '/api/jobs?search=count"': ['"name":"count"', '"total":1'],
    "/api/jobs/count/trigger": ['"execution_ids":'],
    '/api/executions?search=count&per_page=1"': ['"job_name":"count"', '"total_pages":1'],
    "JobService/TriggerJob": ["EXECUTION_STATE_PENDING"],
    "JobService/RunJob": ["EXECUTION_STATE_SUCCEEDED"],
}

pytestmark = pytest.mark.timeout(START_LIMIT_SECS + TOUR_LIMIT_SECS)


def blocks(language: str, *, where: Callable[[str], bool] = lambda _: True) -> list[list[str]]:
    """The tour's code blocks of a language, as lines."""
    section = README.split("\n## A tour", 1)[1].split("\n## ", 1)[0]
    return [lines for lines in code_blocks(section, language) if where("\n".join(lines))]


def of_tool(tool: str) -> list[str]:
    (lines,) = blocks("sh", where=lambda block: f"{tool} " in block)
    return lines


def our_own() -> list[str]:
    """What needs nothing but this project, from the first line to the last."""
    found = blocks("sh", where=lambda block: "curl " not in block)
    return [line for block in found for line in block]


# What a block that is tested by itself needs of those before it.
PREPARED = [". .venv/bin/activate", "kronforce job apply -f examples/tour.yaml"]


def judge(pasted: Sequence[Pasted]) -> None:
    for each in pasted:
        code, words = 0, list[str]()
        for start, (wanted, parts) in EXPECTED.items():
            if each.line.startswith(start):
                code, words = wanted, [*words, *parts]
        for call, parts in EXPECTED_OF_CALLS.items():
            if each.line.endswith(call):
                words += parts
        assert each.code == code, f"{each.line}\n{each.output}"
        for word in words:
            assert word in each.output, f"{each.line}\n{each.output}"


def test_every_line_of_the_tour_does_what_it_says(tour: Tour) -> None:
    lines = our_own()
    assert set(PREPARED) <= set(lines)

    pasted = tour.paste(lines)

    judge(pasted)
    first, second = (each.output for each in pasted if each.line == PREPARED[1])
    assert "count\tcreated" in first
    assert "count\tunchanged" in second
    (explained,) = (each.output for each in pasted if each.line == "kronforce run get $RUN")
    assert "Cancelled" in explained
    assert not (tour.folder / "tick.yaml").exists()


# grpcurl comes from no package of ours, and buf is everywhere: it makes the same calls.
TOOLS = ["buf curl", "curl -s", *(["grpcurl"] if shutil.which("grpcurl") else [])]


@pytest.mark.parametrize("tool", TOOLS)
def test_clients_that_are_not_ours_need_nothing_of_us(tour: Tour, tool: str) -> None:
    judge(tour.paste([*PREPARED, *of_tool(tool)]))


def test_the_lines_of_python_read_the_output_and_the_outcome(tour: Tour) -> None:
    (lines,) = blocks("python")
    script = tour.folder / "pasted.py"
    script.write_text("\n".join(lines) + "\n")

    *before, ran = tour.paste([*PREPARED, "python pasted.py"])

    judge(before)
    assert ran.code == 0, ran.output
    assert "line 1\n" in ran.output
    assert re.search(r"^[0-9a-f-]{36}$", ran.output, re.MULTILINE), ran.output


def test_the_example_scripts_run_beside_a_real_server(tour: Tour) -> None:
    scripts = [
        "python examples/python/trigger_and_watch.py count",
        "python examples/python/trigger_and_watch.py nothing-of-that-name || echo refused",
        "python examples/python/run_and_read.py",
        "python examples/python/watch_everything.py 12",
    ]

    *before, watched, refused, read, followed = tour.paste([*PREPARED, *scripts])

    judge([*before, watched, refused, read, followed])
    assert "line 6\n" in watched.output
    assert "-- EXECUTION_STATE_SUCCEEDED" in watched.output
    assert "refused" in refused.output
    assert "1\n2\n3\n" in read.output
    # The seeded job fires every ten seconds.
    assert re.search("hello .* EXECUTION_STATE_SUCCEEDED", followed.output), followed.output


def test_the_two_commands_are_targets_of_make() -> None:
    targets = re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+) ", README, re.MULTILINE)

    assert named == ["run", "test"]
    assert set(named) <= set(targets)
