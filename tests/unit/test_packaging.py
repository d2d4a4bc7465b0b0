"""What is committed beside the code keeps its own promises."""

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = sorted((CHECKOUT / "requirements").glob("*.txt"))


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==(\S+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_locked_requirements_have_hashes_and_no_addresses(path):
    text = path.read_text()

    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\S)", text.rstrip()))


@pytest.mark.parametrize("name", ["run.txt", "dev.txt"])
def test_every_dependency_is_locked(name):
    names = {
        re.split(r"[<>=;\[ ]", wanted)[0].replace(".", "-") for wanted in PROJECT["dependencies"]
    }

    assert names <= set(locked(CHECKOUT / "requirements" / name))


def test_the_environments_agree_on_every_version():
    run, dev = (locked(CHECKOUT / "requirements" / name) for name in ("run.txt", "dev.txt"))

    assert {name: dev.get(name) for name in run} == run


def test_the_grpc_family_is_one_version():
    versions = {
        version
        for path in REQUIREMENTS
        for name, version in locked(path).items()
        if name.startswith("grpcio")
    }

    assert len(versions) == 1


@pytest.mark.parametrize("name", ["kronforce.service", "kronforce-agent.service"])
def test_the_systemd_units_never_kill_the_launcher(name):
    lines = (CHECKOUT / "packaging" / "systemd" / name).read_text().splitlines()

    assert "KillMode=process" in lines
    assert "Delegate=yes" in lines
