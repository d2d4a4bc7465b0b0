from pathlib import Path

import pytest

from kronforce_agent import config
from kronforce_agent.config import ConfigError


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"KRONFORCE_ADDRESS": "a:1", "KRONFORCE_AGENT_NAME": "from-env"}
    found = config.parse(["--name", "from-flag"], environ)
    assert (found.address, found.name) == ("a:1", "from-flag")
    assert config.parse(["--name", "x"], {}).address == config.DEFAULT_ADDRESS


def test_it_writes_below_the_data_folder_only() -> None:
    found = config.parse(["--name", "web-1"], {"KRONFORCE_DATA_DIR": "/data"})
    assert found.folder == Path("/data/agent-web-1")


def test_tags_and_labels_are_lists_of_words() -> None:
    found = config.parse(["--tags", "a, b", "--labels", "gpu=h200,zone=x"], {})
    assert found.tags == ("a", "b")
    assert found.labels == {"gpu": "h200", "zone": "x"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--slots", "0"], "1 to 10,000"),
        (["--slots", "10001"], "1 to 10,000"),
        (["--labels", "gpu"], "key=value"),
        (["--task-types", "shel"], "shell"),
        (["--name", "a/b"], "no slash"),
        (["--name", ".."], "no leading dot"),
        (["--address", "https://kf:8080"], "a URL; wanted is host:port"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(flags: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config.parse(flags, {})


def test_the_join_token_comes_from_the_file_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("kfj_a.b\n")
    environ = {"KRONFORCE_JOIN_TOKEN": "kfj_c.d"}
    assert config.parse(["--token-file", str(file)], {}).join_token(environ) == "kfj_a.b"
    assert config.parse([], {}).join_token(environ) == "kfj_c.d"


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    found = config.parse(["--token-file", str(tmp_path / "no")], {})
    with pytest.raises(ConfigError, match="--token-file"):
        found.join_token({})


def test_there_are_at_least_sixteen_slots() -> None:
    assert config.default_slots() >= 16
