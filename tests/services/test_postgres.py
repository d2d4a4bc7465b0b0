"""The service script itself, in a folder of its own so that no shared server is touched."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

SCRIPT = Path(__file__).parent / "postgres.py"


@pytest.fixture
def service(postgres_url: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Give a way to call the script on a server of this test's own."""
    del postgres_url  # only so that this is skipped where PostgreSQL cannot be had
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)

        def call(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, str(SCRIPT), *words],
                env={**os.environ, "TMPDIR": folder},
                capture_output=True,
                text=True,
                check=False,
            )

        yield call
        call("stop")


def test_the_server_stays_until_its_last_holder_lets_go(service):
    mine, other = str(os.getpid()), str(os.getppid())
    url = service("start", "--holder", mine).stdout
    assert service("start", "--holder", other).stdout == url

    service("stop", "--holder", mine)
    assert service("url").stdout == url
    service("stop", "--holder", other)
    assert service("url").returncode == 1


def test_a_holder_that_died_does_not_keep_the_server(service):
    dead = subprocess.Popen(["true"])
    dead.wait()
    service("start", "--holder", str(dead.pid))

    service("stop", "--holder", str(os.getpid()))

    assert service("url").returncode == 1


def test_a_server_started_without_a_holder_stays_until_a_plain_stop(service):
    service("start")
    service("stop", "--holder", str(os.getpid()))
    assert service("url").returncode == 0

    service("stop")
    assert service("url").returncode == 1


def test_every_test_gets_an_empty_database_of_its_own(postgres_database_url):
    with psycopg.connect(postgres_database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (0,)
