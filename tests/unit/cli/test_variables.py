"""`kronforce variable …`: what is sent, what is shown, and where a secret must not stand."""

import json


def test_a_variable_is_set_shown_changed_and_deleted(cli, fake):
    assert cli("variable", "set", "REGION", "eu").out == "REGION set\n"
    cli("variable", "set", "REGION", "--description", "where", "--group", "web")
    made = fake.variables["REGION"]
    assert (made.value, made.description, list(made.allowed_groups)) == ("eu", "where", ["web"])

    shown = cli("variable", "get", "REGION").out
    assert "eu" in shown
    assert "web" in shown
    cli("variable", "set", "REGION", "us")
    assert (made.value, made.description) == ("us", "where")
    assert cli("variable", "delete", "REGION").code == 1
    assert cli("variable", "delete", "REGION", "--yes").out == "REGION deleted\n"
    assert cli("variable", "get", "REGION").code == 3


def test_a_secret_comes_by_standard_input_and_is_shown_nowhere(cli, fake):
    done = cli(
        "variable", "set", "TOKEN", "--secret", "--expires-in-days", "90", stdin="hunter22\n"
    )
    assert done.out == "TOKEN set (secret)\n", done.err
    assert fake.variables["TOKEN"].value == "hunter22"
    for verb in (
        ["list"],
        ["get", "TOKEN"],
        ["list", "-o", "json"],
        ["get", "TOKEN", "-o", "yaml"],
    ):
        shown = cli("variable", *verb).out
        assert "hunter22" not in shown
        assert "••••••••" in shown


def test_a_value_comes_from_a_file_as_it_is(cli, fake, tmp_path):
    (tmp_path / "key.pem").write_text("one\ntwo\n")
    cli("variable", "set", "KEY", "--secret", "--file", str(tmp_path / "key.pem"))
    assert fake.variables["KEY"].value == "one\ntwo\n"
    missing = cli("variable", "set", "KEY", "--file", str(tmp_path / "none"))
    assert (missing.code, "cannot read" in missing.err) == (1, True)


def test_what_the_server_warns_of_is_told(cli):
    assert (
        "warning: PIN: it is shorter" in cli("variable", "set", "PIN", "--secret", stdin="123").err
    )


def test_an_expiry_is_an_instant_or_days(cli, fake):
    cli("variable", "set", "A", "x", "--expires-at", "2030-01-01T00:00:00+01:00")
    assert fake.variables["A"].expires_at.ToJsonString() == "2029-12-31T23:00:00Z"
    assert cli("variable", "set", "A", "x", "--expires-at", "soon").code == 2


def test_contradictions_on_the_line_are_mistakes(cli, tmp_path):
    assert cli("variable", "set", "A", "x", "--group", "a", "--all-groups").code == 2
    assert cli("variable", "set", "A", "x", "--file", str(tmp_path)).code == 2


def test_what_jobs_name_is_deleted_by_force(cli, fake):
    cli("variable", "set", "A", "x", "--description", "in use")
    refused = cli("variable", "delete", "A", "--yes")
    assert (refused.code, "named by etl" in refused.err) == (6, True)
    assert cli("variable", "delete", "A", "--yes", "--force").code == 0


def test_the_list_is_searched_and_cut_short_for_people(cli):
    cli("variable", "set", "DB_URL", "x" * 100)
    cli("variable", "set", "MAIL", "y")
    assert [each["name"] for each in json.loads(cli("variable", "list", "-o", "json").out)["data"]]
    assert cli("variable", "list", "--search", "db", "-o", "name").out == "DB_URL\n"
    assert "…" in cli("variable", "list", "-o", "table").out


def test_rotating_says_how_many_were_written_anew(cli):
    cli("variable", "set", "TOKEN", "--secret", stdin="hunter22")
    assert cli("variable", "rotate").code == 1
    assert cli("variable", "rotate", "--yes").out.startswith("1 secret written anew under key ")


def test_completion_offers_variables(cli):
    cli("variable", "set", "REGION", "eu")
    assert "REGION" in cli("completion", "words", "--", "variable", "get", "").out.split()
