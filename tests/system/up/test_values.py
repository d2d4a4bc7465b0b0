"""Variables and parameters through a real controller, agent, launcher and shell."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from tests.system.up.test_up import Up, start

__all__ = ["start"]  # a fixture

SECRET = 's3cr3t-"t0ken"/$(id)-\'ü'
WHERE = "it's $(touch INJECTED) {{TOKEN}}"
COMMAND = """\
# {{NOBODY}} reads comments
echo "token {{TOKEN}}"
printf '%s\\n' 'to {{params.where}}'
printf %s {{TOKEN}} | base64 -w0; echo
cat <<END
{{params.where}} and {{UNKNOWN}}
END
ls
"""
WRITTEN = f"token ********\nto {WHERE}\n********\n{WHERE} and {{{{UNKNOWN}}}}\n"


def test_values_are_data_and_secrets_are_nowhere(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start("--trust-operators")
    up.wait_for("agent    local")
    (tmp_path / "token").write_text(SECRET)
    made = up.cli("variable", "set", "TOKEN", "--secret", "--file", str(tmp_path / "token"))
    assert made.returncode == 0, made.stderr
    (tmp_path / "token").unlink()
    job = tmp_path / "deploy.json"
    task = {"type": "shell", "command": COMMAND}
    parameters = [{"name": "where", "param_type": "text"}]
    job.write_text(json.dumps({"name": "deploy", "task": task, "parameters": parameters}))
    assert up.cli("job", "apply", "-f", str(job)).returncode == 0

    ran = up.cli("job", "run", "deploy", "--param", f"where={WHERE}", "--follow")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == WRITTEN
    told = up.cli("run", "get", "@last", "-o", "json").stdout + "\n".join(up.lines)
    assert "{{UNKNOWN}}" in told
    assert up.interrupt() == 0
    forms = (SECRET.encode(), b"s3cr3t-", base64.b64encode(SECRET.encode()))
    files = [path for path in up.folder.rglob("*") if path.is_file()]
    leaks = [path.name for path in files if any(form in path.read_bytes() for form in forms)]
    assert files
    assert leaks == []
    assert not any(form.decode() in told for form in forms)


def test_a_command_that_cannot_have_a_value_is_refused_with_line_and_way_out(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start("--trust-operators")
    up.wait_for("agent    local")
    job = tmp_path / "bad.yaml"
    job.write_text("name: bad\ntask:\n  type: shell\n  command: |\n    true\n    x=`cat {{F}}`\n")

    for words in (("job", "apply", "-f"), ("job", "validate")):
        refused = up.cli(*words, str(job))
        assert refused.returncode == 1
        assert "{{F}} in line 2 stands inside" in refused.stderr
        assert "$(…)" in refused.stderr
