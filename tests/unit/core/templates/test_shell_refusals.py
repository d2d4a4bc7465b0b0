import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.core.templates.quoting import Quoting
from kronforce.core.templates.shell import read_command

REFUSED = {
    "echo `date {{X}}`": "write $(…)",
    'echo "`date {{X}}`"': "write $(…)",
    "echo $(echo `date {{X}}`)": "write $(…)",
    "cat <<E\n`{{X}}`\nE": "write $(…)",
    "echo $((1 + {{X}}))": "check that it is a number",
    'echo "$((1 + {{X}}))"': "check that it is a number",
    "echo $(( $(echo {{X}}) ))": "check that it is a number",
    "((i = {{X}}))": "check that it is a number",
    "for ((i=0; i<{{X}}; i++)); do :; done": "check that it is a number",
    "echo $[{{X}}]": "check that it is a number",
    "cat <<'E'\n{{X}}\nE": "quoted delimiter",
    'cat <<"E"\n{{X}}\nE': "quoted delimiter",
    "cat <<\\E\n{{X}}\nE": "quoted delimiter",
    "cat <<-'E'\n\t{{X}}\n\tE": "quoted delimiter",
    "echo $(cat <<'E'\n{{X}}\nE\n)": "quoted delimiter",
    "cat <<{{X}}\n{{X}}\n": "use a fixed word",
    "echo $'a{{X}}'": "$'…'",
    "echo ${u/{{X}}/b}": "at a place where sh takes no value",
    "echo ${u:{{X}}:1}": "at a place where sh takes no value",
    "echo ${u[{{X}}]}": "at a place where sh takes no value",
    "echo ${u{{X}}}": "at a place where sh takes no value",
    "echo ${u^{{X}}}": "at a place where sh takes no value",
    "echo $'it\\'s' {{X}}": "one shell reads differently",
    'echo "${u:-"}"}" {{X}}': "one shell reads differently",
    "echo $(cat <<E)\nE\n{{X}}": "one shell reads differently",
    "((cat <<E)\n{{X}}": "check that it is a number",
    "echo " + "$(" * 60 + "{{X}}" + ")" * 60: "deep",
    'echo "' + "${u:-" * 60 + "{{X}}" + "}" * 60 + '"': "deep",
    "(" * 101 + " {{X}}": "check that it is a number",
    "( " * 60 + "{{X}}": "deep",
}
SECOND_SHELLS = [
    "sh -c 'rm {{X}}'",
    'sh -c "rm {{X}}"',
    "sh -c {{X}}",
    "/bin/bash -euo pipefail -c 'a; b {{X}}'",
    "bash -o errexit -lc 'b {{X}}'",
    'sudo -u app bash --norc -c "b {{X}}"',
    "su - app -c 'b {{X}}'",
    "su -c 'b {{X}}' app",
    "find . -exec sh -c 'b {{X}}' \\;",
    "if A=1 exec sh -c 'b {{X}}'; then :; fi",
    "echo a; ! zsh -c 'b {{X}}'",
    "case a in a) dash -c 'b {{X}}';; esac",
    "echo $(ksh -c 'b {{X}}')",
    "eval {{X}}",
    "A=1 eval set -- '{{X}}'",
    'eval "a=${b:-{{X}}}"',
    "sh <<E\nb {{X}}\nE",
    "ls; sudo bash -eu <<E\nb {{X}}\nE",
    "trap {{X}} EXIT",
    "trap 'echo {{X}}' EXIT",
    "alias zz={{X}}",
    "runuser -u app -- sh -c 'b {{X}}'",
    "runuser app -c 'b {{X}}'",
    "flock /tmp/l -c 'b {{X}}'",
    "script -qc 'b {{X}}' /dev/null",
]
EVALUATED = {
    "[[ {{X}} -gt 5 ]]": "[[ … ]]",
    "[[ -n a && ( {{X}} -eq 1 || b < {{Y}} ) ]]": "[[ … ]]",
    "if ! [[ a == '{{X}}' ]]; then :; fi": "[[ … ]]",
    'let "x={{X}}"': "check that it is a number",
    "declare -i y={{X}}": "check that it is a number",
    "A=1 typeset -ri y='{{X}}'": "check that it is a number",
    "[ -v {{X}} ]": "name of a variable",
    "test -v a{{X}}": "name of a variable",
    "printf -v {{X}} %s b": "name of a variable",
    "unset {{X}}": "name of a variable",
    "read -r '{{X}}'": "name of a variable",
}
FIRST_SHELL_ALONE = [
    "sh -c 'rm -- \"$1\"' _ {{X}}",
    "sh -c 'rm -- \"$1\"' _ '{{X}}'; echo {{X}}",
    "bash script.sh -c {{X}}",
    "sh script.sh <<E\n{{X}}\nE",
    "sh -c cat <<E\n{{X}}\nE",
    "su -c cat app <<E\n{{X}}\nE",
    "eval a; echo {{X}}",
    "eval a | cat {{X}}",
    "echo eval {{X}}",
    "A={{X}} sh -c 'echo \"$A\"'",
    'sh -c "echo $(printf %q {{X}})"',
    'V={{X}}\nsh -c "$V"',
    "case sh in sh) grep -c {{X}};; esac",
    "[[ -n a ]] && echo {{X}}",
    "[[ $(cat {{X}}) == b ]]",
    "[ {{X}} -gt 5 ]",
    "test -n {{X}}",
    "declare y={{X}}",
    "export A={{X}}",
    "printf %s {{X}}",
    "printf -v a %s {{X}}",
    "[ -v a ] && echo {{X}}",
    "flock /tmp/l echo {{X}}",
    "flock /tmp/l -c date; echo {{X}}",
    "read -r a <<E\n{{X}}\nE",
    "trap 'rm \"$F\"' EXIT; F={{X}}",
]


@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_made_safe_is_refused_and_says_what_to_do(command: str) -> None:
    _, problems = read_command(command)

    assert problems
    assert all(REFUSED[command] in problem for problem in problems)


@pytest.mark.parametrize("command", SECOND_SHELLS)
def test_what_another_shell_reads_as_source_is_refused(command: str) -> None:
    _, (problem,) = read_command(command)

    assert "hand it over as data" in problem


@pytest.mark.parametrize("command", EVALUATED)
def test_what_is_evaluated_otherwise_is_refused(command: str) -> None:
    _, problems = read_command(command)

    assert problems
    assert all(EVALUATED[command] in problem for problem in problems)


@pytest.mark.parametrize("command", FIRST_SHELL_ALONE)
def test_what_another_shell_gets_as_data_is_not(command: str) -> None:
    slots, problems = read_command(command)

    assert slots
    assert problems == []


@pytest.mark.parametrize(
    "command",
    [
        "echo # {{X}}",
        "# `{{X}}`\n:",
        "echo \\{{X}}",
        "echo ${{ X }} {{{X}}} {{.X}} {{X.Y}} {{ X | y }} {{}} {{X }",
        "docker ps --format '{{.Names}}'",
        "cat <<'E'\n{{.X}}\nE",
    ],
)
def test_what_is_no_placeholder_is_neither_filled_nor_refused(command: str) -> None:
    assert read_command(command) == ((), [])


def test_many_refusals_are_told_ten_at_a_time() -> None:
    _, problems = read_command("\n".join(f"echo `{{{{X{n}}}}}`" for n in range(30)))

    assert len(problems) == 10
    assert "line 10" in problems[-1]


def test_a_piece_that_shells_disagree_about_harms_only_what_follows() -> None:
    slots, problems = read_command("echo {{A}}\necho $'\\''\necho {{B}}")

    assert [slot.at.name for slot in slots] == ["A", "B"]
    assert len(problems) == 1
    assert problems[0].startswith("{{B}} in line 3")


@given(
    st.lists(
        st.sampled_from([*"\"'`$(){}\\\n<>#;&|=- aE[", "{{X}}", "case a in ", " esac", "<<E\n"])
    )
)
def test_any_text_is_read_to_its_end_in_order(pieces: list[str]) -> None:
    command = "".join(pieces)

    slots, _ = read_command(command)

    at = 0
    for slot in slots:
        assert at <= slot.at.start < slot.at.end
        assert command[slot.at.start : slot.at.end] == "{{X}}"
        assert isinstance(slot.quoting, Quoting)
        at = slot.at.end
