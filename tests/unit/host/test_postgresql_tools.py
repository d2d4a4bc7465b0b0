"""What pg_dump and pg_restore are told, and how."""

import pytest

from kronforce.host import postgresql_tools
from kronforce.host.opening import HostError


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Give a pg_dump that writes down what it was called with."""
    program = tmp_path / "pg_dump"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nenv > {tmp_path}/environment\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


def test_the_password_goes_by_environment_and_names_are_quoted(tool, tmp_path):
    pytest.importorskip("psycopg")
    url = "postgresql://kf:p%40ss@db.example:5433/jobs?sslmode=require"

    postgresql_tools.dump(url, "Our schema", ["runs", 'odd"name'], tmp_path / "out")

    arguments = (tmp_path / "arguments").read_text()
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "p@ss" not in arguments
    assert '--table="Our schema"."runs"\n' in arguments
    assert '--table="Our schema"."odd""name"\n' in arguments
    assert {
        "PGUSER=kf", "PGPASSWORD=p@ss", "PGHOST=db.example", "PGPORT=5433", "PGDATABASE=jobs",
        "PGSSLMODE=require",
    } <= set(environment)  # fmt: skip


def test_a_setting_that_cannot_be_handed_on_is_named(tool, tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(HostError, match="keepalives_idle"):
        postgresql_tools.dump("postgres://h/d?keepalives_idle=9", "public", [], tmp_path / "out")


def test_what_the_tool_says_is_told_and_so_is_that_it_is_not_there(tool, tmp_path, monkeypatch):
    pytest.importorskip("psycopg")
    tool.write_text("#!/bin/sh\necho 'server version mismatch' >&2\nexit 1\n")
    with pytest.raises(HostError, match="pg_dump failed: server version mismatch"):
        postgresql_tools.dump("postgres://h/d", "public", [], tmp_path / "out")

    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(HostError, match="postgresql-client"):
        postgresql_tools.dump("postgres://h/d", "public", [], tmp_path / "out")
