"""What `kronforce up` tells people to type is what works where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from kronforce.cli import banner
from kronforce.config import load


def executable(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "kronforce"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_command_that_the_shell_finds_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = executable(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(own.parent))

    assert banner.command([str(own), "up"]) == "kronforce"


def test_a_command_that_the_shell_does_not_find_is_called_as_it_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = executable(tmp_path / "other")
    monkeypatch.setenv("PATH", str(other.parent))

    assert banner.command([".venv/bin/kronforce", "up"]) == ".venv/bin/kronforce"


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [({}, []), ({"metrics": "127.0.0.1:9"}, ["  metrics  http://127.0.0.1:9/metrics"])],
)
def test_the_banner_says_where_metrics_are(
    metrics: dict[str, str], lines: list[str], tmp_path: Path
) -> None:
    config = load({"data_dir": tmp_path}, {})

    said = banner.head(config, {"address": "127.0.0.1:1", **metrics}, {})

    assert [line for line in said if "metrics" in line] == lines


def test_starting_again_takes_the_same_flags() -> None:
    typed = ["kronforce", "up", "--seed", "--data-dir", "/a b"]

    assert banner.again(typed) == "kronforce up --seed --data-dir '/a b'"


def test_a_url_that_may_hold_a_password_is_not_shown_again() -> None:
    assert banner.again(["kronforce", "up", "--db", "postgresql://u:p@h/d"]) == "the same command"
