"""The examples that are shipped are valid, and the scripts run."""

import re
import subprocess
import sys
from pathlib import Path

from tests.fakes.api_server import KEY

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_every_example_job_is_valid_and_applies_twice(cli):
    done = cli("job", "validate", str(EXAMPLES / "jobs"))
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 8
    assert cli("job", "apply", "-f", str(EXAMPLES / "jobs")).code == 0
    again = cli("job", "apply", "-f", str(EXAMPLES / "jobs"))
    assert {line.split("\t")[1] for line in again.out.splitlines()} == {"unchanged"}


def test_the_jobs_on_the_page_of_the_http_task_are_valid(cli, home):
    page = (EXAMPLES.parent / "docs" / "http-task.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    Path("page.yaml").write_text("---\n".join(blocks), encoding="utf-8")
    done = cli("job", "validate", "page.yaml")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(blocks) == 2


def test_the_script_that_runs_a_job_ends_well(fake, home):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "python" / "run_and_read.py")],
        env={"KRONFORCE_ADDRESS": fake.address, "KRONFORCE_KEY": KEY, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok\n")
