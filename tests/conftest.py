"""What every test may ask for: one PostgreSQL a session, and a database of its own in it.

The server is started by `tests/services/postgres.py` at the first test that needs it and shared
by all xdist workers and by sessions that run at the same time; the last session stops it. Where
it cannot be had the tests that need it are skipped by name, but with CI=true they fail.
"""

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog
from xdist.plugin import pytest_xdist_auto_num_workers as cpus_of

POSTGRES = Path(__file__).parent / "services" / "postgres.py"
CHROMIUM = Path(__file__).parent / "services" / "chromium.py"
UNAVAILABLE = 3
# The first start of a machine's life installs a package.
START_LIMIT_SECS = 900
# Tests with processes wait for them most of the time.
WORKERS_PER_CPU = 2
SPENT = pytest.StashKey[float]()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many `-n auto` means."""
    return WORKERS_PER_CPU * cpus_of(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what took its whole time: its timeout may have ended a task that nobody looked at."""
    report = yield
    spent = item.stash[SPENT] = item.stash.get(SPENT, 0.0) + call.duration
    mark = item.get_closest_marker("timeout")
    limit = float(mark.args[0] if mark else item.config.getini("timeout"))
    if call.when == "call" and report.passed and spent >= limit > 0:
        report.outcome = "failed"
        report.longrepr = f"it took {spent:.0f} s, and its timeout of {limit:.0f} s ended a task"
    return report


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Undo what an entry point that a test runs here does to the logs of the process."""
    root, ours = logging.getLogger(), logging.getLogger("kronforce")
    handlers, level, own = list(root.handlers), root.level, ours.level
    yield
    if structlog.is_configured():
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(own)
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """Give the URL of a running server's maintenance database, as its superuser."""
    done = _service("start")
    if done.returncode == UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(f"needs PostgreSQL: {done.stderr.strip()}")
    if done.returncode != 0:
        pytest.fail(f"PostgreSQL did not start: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture
def postgres_database_url(postgres_url: str) -> Iterator[str]:
    """Give the URL of an empty database that this test alone has; it is dropped afterwards."""
    import psycopg  # noqa: PLC0415 -- optional: only tests on PostgreSQL need the driver

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of a Chromium."""
    done = subprocess.run(
        [sys.executable, str(CHROMIUM)], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=START_LIMIT_SECS, check=False,
    )  # fmt: skip
    if done.returncode == UNAVAILABLE and os.environ.get("CI") != "true":
        pytest.skip(f"needs Chromium: {done.stderr.strip()}")
    if done.returncode != 0:
        pytest.fail(f"no Chromium: {done.stderr.strip()}")
    return done.stdout.strip()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let go of the server; only the process that holds it for the whole session does."""
    if not hasattr(session.config, "workerinput"):
        _service("stop")


def _service(command: str) -> subprocess.CompletedProcess[str]:
    # A worker's parent is the controller, which outlives all workers.
    holder = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return subprocess.run(
        [sys.executable, str(POSTGRES), command, "--holder", str(holder)],
        env={**os.environ, "KRONFORCE_POSTGRES_SCRATCH": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_SECS,
        check=False,
    )
