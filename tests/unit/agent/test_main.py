import subprocess
import sys

import pytest

from kronforce_agent.main import main


def test_elsewhere_than_on_linux_it_refuses_with_a_pointer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main([]) == 1
    assert "examples/agents" in capsys.readouterr().err


def test_a_wrong_flag_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--slots", "0"]) == 2
    assert "--slots" in capsys.readouterr().err


def test_it_can_be_imported_where_fcntl_is_missing() -> None:
    code = "import sys; sys.modules['fcntl'] = None; import kronforce_agent.main"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "agent:."})
