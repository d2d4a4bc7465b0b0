"""The page's own examples: what it says the shell gets is what it gets."""

import re
from pathlib import Path

import pytest

from kronforce.core.templates import compile_task, template_problems
from kronforce.v1.job_pb2 import ShellTask, Task

PAGE = (Path(__file__).parents[4] / "docs/values-in-shell.md").read_text(encoding="utf-8")
BECOMES = re.findall(r"^\| `(.*)` \| `(.*)` \|$", PAGE, re.MULTILINE)
REFUSED = [
    "`date {{X}}`",
    "$(({{N}} + 1))",
    "cat <<'END'\n{{X}}\nEND",
    "echo $'…{{X}}…'",
    "echo ${v/{{X}}/y}",
    "echo ${v:{{N}}}",
    "sh -c 'rm {{X}}'",
    "su -c 'rm {{X}}'",
    "flock /tmp/lock -c 'rm {{X}}'",
    "eval rm {{X}}",
    "trap {{X}} EXIT",
    "alias x={{X}}",
    "[[ {{X}} -gt 1 ]]",
    "let a={{X}}",
    "declare -i a={{X}}",
    "unset {{X}}",
    "read {{X}}",
    "[ -v {{X}} ]",
    "printf -v {{X}} a",
    "bash <<END\n{{X}}\nEND",
]


def test_the_table_is_found() -> None:
    assert len([each for each in BECOMES if "KF_V1" in each[1]]) >= 7


@pytest.mark.parametrize(("written", "got"), [row for row in BECOMES if "KF_V1" in row[1]])
def test_what_the_page_says_the_shell_gets_is_what_it_gets(written: str, got: str) -> None:
    template = compile_task(Task(shell=ShellTask(command=written)))

    assert template.fill(dict.fromkeys(template.keys, "")).task.shell.command == got


@pytest.mark.parametrize("block", re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
def test_the_pages_scripts_are_accepted(block: str) -> None:
    assert list(template_problems(ShellTask(command=block))) == []


@pytest.mark.parametrize("command", REFUSED)
def test_what_the_page_says_is_refused_is(command: str) -> None:
    assert list(template_problems(ShellTask(command=command)))
