"""Settings: which place wins, what is refused, and that a refusal names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from kronforce.config import CannotStart, Config, default_data_dir, is_loopback, load, local_address

HOME = {"XDG_STATE_HOME": "/state"}


def loaded(environ: dict[str, str] | None = None, **flags: object) -> Config:
    return load(flags, {"KRONFORCE_DATA_DIR": "/data", **(environ or {})})


def file_with(folder: Path, text: str) -> Path:
    path = folder / "kronforce.toml"
    path.write_text(text)
    return path


def test_without_any_setting_it_listens_on_loopback_and_keeps_a_file() -> None:
    config = loaded()
    assert (config.grpc_bind, config.agent_name) == ("127.0.0.1:50051", "local")
    assert config.db == "/data/kronforce.db"
    assert config.sqlite
    assert not config.trust_operators


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, 'agent_name = "file"\nretention_days = 3\nlog_level = "error"\n')
    environ = {"KRONFORCE_AGENT_NAME": "environment", "KRONFORCE_RETENTION_DAYS": "5"}
    config = loaded(environ, config=path, agent_name="flag")
    assert (config.agent_name, config.retention_days, config.log_level) == ("flag", 5, "error")


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = file_with(tmp_path, "insecure = true\nagent_tags = ['gpu', 'eu']\n")
    config = loaded({"KRONFORCE_CONFIG": str(path)})
    assert (config.insecure, config.agent_tags) == (True, ("gpu", "eu"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", 1 << 20), ("256MiB", 256 << 20), ("2 gib", 2 << 30), ("0", 0)],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert loaded({"KRONFORCE_DISK_RESERVE": text}).disk_reserve == size


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KRONFORCE_GRPC_BIND", "localhost"),
        ("KRONFORCE_GRPC_BIND", "127.0.0.1:70000"),
        ("KRONFORCE_METRICS_BIND", "localhost"),
        ("KRONFORCE_METRICS_BIND", "70000"),
        ("KRONFORCE_DISK_RESERVE", "lots"),
        ("KRONFORCE_DISK_RESERVE", "5 parsecs"),
        ("KRONFORCE_MAX_PENDING", "0"),
        ("KRONFORCE_RETENTION_DAYS", "soon"),
        ("KRONFORCE_LOG_LEVEL", "loud"),
        ("KRONFORCE_TRUST_OPERATORS", "perhaps"),
        ("KRONFORCE_DB", "mysql://host/db"),
    ],
)
def test_a_wrong_value_is_refused_with_the_place_it_came_from(variable: str, value: str) -> None:
    with pytest.raises(CannotStart, match=variable):
        loaded({variable: value})


def test_a_wrong_flag_is_named_as_a_flag() -> None:
    with pytest.raises(CannotStart, match="--grpc-bind"):
        loaded(grpc_bind="nowhere")


def test_an_unknown_line_of_the_file_is_refused_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"'grpc_port'.*grpc_bind"):
        loaded(config=file_with(tmp_path, "grpc_port = 1\n"))


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="absent"):
        loaded(config=tmp_path / "absent.toml")
    with pytest.raises(CannotStart, match="not valid TOML"):
        loaded(config=file_with(tmp_path, "grpc_bind: 1"))


@pytest.mark.parametrize(
    ("given", "bind"),
    [
        ("9464", "127.0.0.1:9464"),
        (9464, "127.0.0.1:9464"),
        ("192.0.2.1:9464", "192.0.2.1:9464"),
        (":9464", "0.0.0.0:9464"),
    ],
)
def test_metrics_are_for_this_machine_unless_an_address_is_named(given: object, bind: str) -> None:
    assert loaded().metrics_bind == ""
    assert loaded(metrics_bind=given).metrics_bind == bind


@pytest.mark.parametrize("bind", ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", ":50051"])
def test_beyond_loopback_it_starts_only_with_tls_or_a_word(bind: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="--insecure"):
        loaded(grpc_bind=bind)
    assert loaded(grpc_bind=bind, insecure=True).insecure
    both = {"tls_cert": tmp_path / "c", "tls_key": tmp_path / "k"}
    assert loaded(grpc_bind=bind, **both).tls_cert == tmp_path / "c"


@pytest.mark.parametrize(
    ("given", "missing"), [("tls_cert", "--tls-key"), ("tls_key", "--tls-cert")]
)
def test_half_of_tls_is_refused(given: str, missing: str, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=missing):
        loaded(**{given: tmp_path / "file"})


def test_secrets_of_the_settings_are_not_shown() -> None:
    shown = repr(loaded(bootstrap_admin_key="kf_secret", db="postgresql://me:password@host/db"))
    assert "kf_secret" not in shown
    assert "password" not in shown


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("example.org:1", False),
    ],
)
def test_loopback_is_told_from_the_rest(address: str, answer: bool) -> None:
    assert is_loopback(address) is answer


@pytest.mark.parametrize(
    ("bind", "called"),
    [
        ("127.0.0.1:0", "127.0.0.1:7001"),
        ("0.0.0.0:0", "127.0.0.1:7001"),
        ("[::]:0", "[::1]:7001"),
        ("build.example:0", "build.example:7001"),
    ],
)
def test_what_listens_everywhere_is_called_on_loopback(bind, called):
    assert local_address(bind, 7001) == called


def test_the_default_folder_is_the_systems_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir(HOME) == Path("/var/lib/kronforce")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_dir(HOME) == Path("/state/kronforce")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("x", "'x' is not a whole number"),
        ("1.5", "'1.5' is not a whole number"),
        (1.5, "1.5 is not a whole number"),
        (True, "True is not a whole number"),
        ("0", "0 is too small; at least 1"),
        ("-1", "-1 is too small; at least 1"),
    ],
)
def test_what_is_no_count_is_said_in_words(given: object, said: str) -> None:
    with pytest.raises(CannotStart, match=f"--retention-days: {said}"):
        load({"retention_days": given}, {})


def test_agents_without_a_key_are_for_loopback_alone():
    assert load({"open_agents": True}, {}).open_agents
    for setting in ("bind", "grpc_bind"):
        with pytest.raises(CannotStart, match="--open-agents"):
            load({"open_agents": True, setting: "0.0.0.0:9000", "insecure": True}, {})
