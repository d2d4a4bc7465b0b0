"""Every place with every value through real shells: it arrives byte for byte, nothing runs."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kronforce.core.templates import compile_task, template_problems
from kronforce.core.templates.shell import read_command
from kronforce.v1.job_pb2 import ShellTask, Task
from tests.unit.core.templates.quoting_cases import PLACES, VALUES

# Each as it is where it is `sh`, with one in so many of the values, other ones at each place.
SHELLS = {"dash": 2, "bash --posix": 6}
SHELLS = {shell: share for shell, share in SHELLS.items() if shutil.which(shell.split()[0])}
END = b"\0"
FILES = ["E", "glob-a", "glob-b"]
# What the agent does, many times in one process: `sh -c` with the value in its environment.
DRIVER = """for n in $NUMBERS; do
    eval "export KF_V1=\\"\\$V$n\\" KF_V2=\\"\\$V$n\\""; $SH -c "$COMMAND"; printf '\\0'
done"""


def run(shell: str, folder: Path, command: str, values: list[str]) -> list[bytes]:
    """What the command writes for each of these values."""
    template = compile_task(Task(shell=ShellTask(command=command)))
    rendered = template.fill(dict.fromkeys(template.keys, "")).task.shell.command
    assert "{{Y}}" in rendered or "{{" not in rendered
    numbers = range(len(values))
    given_values = {f"V{n}": values[n] for n in numbers}
    environment = {
        "PATH": "/usr/bin:/bin",
        "SH": shell,
        "NUMBERS": " ".join(map(str, numbers)),
        "COMMAND": rendered,
        **given_values,
    }
    done = subprocess.run(
        ["sh", "-c", DRIVER],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.stdout.split(END)[:-1]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def expected(writes: str, value: str) -> bytes:
    return writes.replace("<V>", value).replace("<T>", value.rstrip("\n")).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With files that a pattern would find."""
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_there_are_enough_cases() -> None:
    assert sum(len(PLACES) * len(VALUES) // share for share in SHELLS.values()) >= 300


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", PLACES)
def test_a_value_arrives_byte_for_byte_and_nothing_of_it_runs(
    shell: str, place: str, folder: Path
) -> None:
    command, writes = PLACES[place]

    share = SHELLS[shell]
    values = dict(list(VALUES.items())[list(PLACES).index(place) % share :: share])

    written = run(shell, folder, command, list(values.values()))

    wrong = {
        name: got[:200]
        for (name, value), got in zip(values.items(), written, strict=True)
        if got != expected(writes, value)
    }
    assert wrong == {}
    assert names_in(folder) == FILES


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60
) | st.text("{}X\"'`$()\\;|&<>*?#~! \n\taE=", max_size=30)


@pytest.mark.parametrize("shell", SHELLS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(places=st.lists(st.sampled_from(sorted(PLACES)), min_size=3, max_size=3), value=TEXTS)
def test_any_text_arrives_in_places_one_after_the_other(
    shell: str, folder: Path, places: list[str], value: str
) -> None:
    commands = "\nunset u v w s A\n".join(PLACES[place][0] for place in places)

    (written,) = run(shell, folder, commands, [value])

    assert written == b"".join(expected(PLACES[place][1], value) for place in places)


PIECES = st.sampled_from(
    [
        *"'\"()|&;\n #\\",
        *["{{X}}"] * 3,
        *[": ", "$(", "${u:-", "${u#", "}", "<<E", "\nE\n", "case a in ", "a)", ";;", " esac"],
        *["echo ", "cat ", "'it'", "$u", "if :; then ", "; fi"],
    ]
)
WORD = ".X"


@pytest.mark.parametrize("shell", SHELLS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(commands=st.lists(st.lists(PIECES, max_size=14).map("".join), min_size=30, max_size=30))
def test_a_harmless_word_arrives_as_if_it_had_been_written_there(
    shell: str, folder: Path, commands: list[str]
) -> None:
    """Of commands that are any, and of all places in them that a placeholder can have."""
    for command in commands:
        slots, problems = read_command(command)
        if not slots or problems or "&" in command:
            continue
        written = command
        for slot in reversed(slots):
            written = written[: slot.at.start] + WORD + written[slot.at.end :]
        expected = execute(shell, folder, written, {})
        if expected[0] == 0:
            template = compile_task(Task(shell=ShellTask(command=command)))
            filled = template.fill({"X": WORD})
            got = execute(shell, folder, filled.task.shell.command, dict(filled.values))
            assert got == expected


def execute(shell: str, folder: Path, command: str, values: dict[str, bytes]) -> tuple[int, bytes]:
    done = subprocess.run(
        [*shell.split(), "-c", command],
        check=False,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **{name: value.decode() for name, value in values.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
    )
    return done.returncode, done.stdout


ATTACKS = (
    "$(touch INJECTED)",
    "`touch INJECTED`",
    "'\";touch INJECTED;",
    "\n)}E\ntouch INJECTED\n",
)


@pytest.mark.parametrize("shell", SHELLS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(commands=st.lists(st.lists(PIECES, max_size=14).map("".join), min_size=20, max_size=20))
def test_whatever_the_command_a_value_is_never_run(
    shell: str, folder: Path, commands: list[str]
) -> None:
    """Most of these are no commands at all; what is in the value must not make them any."""
    for command in commands:
        task = Task(shell=ShellTask(command=command))
        if "{{X}}" not in command or list(template_problems(task.shell)):
            continue
        template = compile_task(task)
        for attack in ATTACKS:
            filled = template.fill({"X": attack})
            execute(shell, folder, filled.task.shell.command, dict(filled.values))

    assert "INJECTED" not in names_in(folder)
