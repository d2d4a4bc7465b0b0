import pytest

from kronforce.core.templates import compile_task, template_problems
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import HttpTask, HttpTls, NoopTask, ShellTask, Task


def shell(command: str, **fields: object) -> Task:
    return Task(shell=ShellTask(command=command, **fields))  # type: ignore[arg-type]


def test_a_task_without_placeholders_is_plain_and_stays_the_very_same_message() -> None:
    task = shell("echo {{.Names}} ${{ github.ref }} {{ a | b }} {{}} {{a-b}} {X}")

    template = compile_task(task)

    assert template.plain
    assert template.fill({"X": "1"}).task is task


def test_names_and_parameters_are_told_apart() -> None:
    template = compile_task(shell("echo {{ A }} {{params.B}}", working_dir="/srv/{{C}}"))

    assert template.names == {"A", "C"}
    assert template.params == {"B"}
    assert not template.plain


def test_a_command_gets_references_and_the_environment_the_values() -> None:
    template = compile_task(shell("echo {{A}} \"{{params.B}}\" '{{A}}'"))

    filled = template.fill({"A": "a $(id)", "params.B": "é"})

    assert filled.task.shell.command == 'echo "${KF_V1}" "${KF_V2}" \'\'"${KF_V1}"\'\''
    assert filled.values == [("KF_V1", b"a $(id)"), ("KF_V2", "é".encode())]
    assert filled.unresolved == []


def test_what_has_no_value_stays_as_it_stands_and_is_named() -> None:
    template = compile_task(shell("echo {{ A }} {{params.B}}", env={"E": "{{C}}"}))

    filled = template.fill({"params.B": "b"})

    assert filled.task.shell.command == 'echo {{ A }} "${KF_V2}"'
    assert filled.task.shell.env["E"] == "{{C}}"
    assert filled.values == [("KF_V2", b"b")]
    assert filled.unresolved == ["A", "C"]


def test_environment_and_folder_take_values_as_they_are() -> None:
    template = compile_task(shell("true", env={"E": "<{{A}}>"}, working_dir="/srv/{{A}}"))

    filled = template.fill({"A": "$x'"})

    assert dict(filled.task.shell.env) == {"E": "<$x'>"}
    assert filled.task.shell.working_dir == "/srv/$x'"
    assert filled.values == []


def test_every_text_of_any_task_is_filled() -> None:
    task = Task(
        http=HttpTask(
            url="https://{{HOST}}/{{params.path}}",
            headers={"Authorization": "Bearer {{T}}", "{{T}}": "kept"},
            body='{"a":"{{T}}"}',
            tls=HttpTls(client_key_pem="{{KEY}}"),
        )
    )
    template = compile_task(task)

    http = template.fill({"HOST": "h", "params.path": "p", "T": "t", "KEY": "k"}).task.http

    assert template.names == {"HOST", "T", "KEY"}
    assert http.url == "https://h/p"
    assert dict(http.headers) == {"Authorization": "Bearer t", "{{T}}": "kept"}
    assert http.body == '{"a":"t"}'
    assert http.tls.client_key_pem == "k"


def test_a_value_is_never_looked_at_again() -> None:
    template = compile_task(Task(noop=NoopTask(message="{{A}}{{B}}")))

    filled = template.fill({"A": "{{B}}", "B": "{{A}}{{"})

    assert filled.task.noop.message == "{{B}}{{A}}{{"
    assert filled.unresolved == []


def test_filling_leaves_the_given_task_as_it_was() -> None:
    task = shell("echo {{A}}", env={"E": "{{A}}"})
    before = task.SerializeToString(deterministic=True)

    compile_task(task).fill({"A": "x"})

    assert task.SerializeToString(deterministic=True) == before


def test_variables_that_the_job_speaks_of_itself_are_not_taken() -> None:
    template = compile_task(shell("KF_V1=mine; echo $KF_V1 {{A}}", env={"KF_V2": "mine"}))

    assert template.fill({"A": "a"}).values == [("KF_V3", b"a")]


def test_a_place_that_cannot_be_made_safe_is_refused_with_the_way_out() -> None:
    task = shell("echo ok\necho `date {{A}}`")

    with pytest.raises(InvalidArgument) as refused:
        compile_task(task)

    (violation,) = refused.value.violations
    assert violation.field == "task.command"
    assert "{{A}} in line 2" in violation.description
    assert "$(…)" in violation.description
    assert list(template_problems(task.shell)) == [("task.command", violation.description)]
