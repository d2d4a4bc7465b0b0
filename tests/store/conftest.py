"""One suite for both stores: every test that asks for `database` runs on each.

A migrated database is made once a session and copied for each test.
"""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kronforce.store.database import Database, Tx, open_database, writing
from kronforce.store.migrate import migrate
from tests.store.pull_agent import PullAgent
from tests.store.rig import Rig


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    database = open_database(str(folder / "k.db"))
    migrate(database)
    database.close()
    return folder


@pytest.fixture(scope="session")
def postgres_template(postgres_url) -> Iterator[str]:
    import psycopg  # noqa: PLC0415 -- optional: only tests on PostgreSQL need the driver

    name = f"template_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        database = open_database(urlsplit(postgres_url)._replace(path=f"/{name}").geturl())
        migrate(database)
        database.close()
        yield name
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_url(sqlite_template, tmp_path) -> str:
    shutil.copytree(sqlite_template, tmp_path, dirs_exist_ok=True)
    return str(tmp_path / "k.db")


@pytest.fixture
def postgres_store_url(postgres_url, postgres_template) -> Iterator[str]:
    import psycopg  # noqa: PLC0415 -- optional: only tests on PostgreSQL need the driver

    name = f"store_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"')
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request) -> str:
    named = {"sqlite": "sqlite_url", "postgresql": "postgres_store_url"}
    return request.getfixturevalue(named[request.param])


@pytest.fixture
def database(store_url) -> Iterator[Database]:
    database = open_database(store_url)
    yield database
    database.close()


@pytest.fixture
def other(store_url) -> Iterator[Database]:
    """Give a second controller's view of the same store."""
    database = open_database(store_url)
    yield database
    database.close()


@pytest.fixture
def tx(database) -> Iterator[Tx]:
    """Give a write transaction that is committed at the end of the test."""
    with writing(database.main) as tx:
        yield tx


@pytest.fixture
def output_tx(database) -> Iterator[Tx]:
    with writing(database.output) as tx:
        yield tx


@pytest.fixture
def rig_class():
    """Give the kind of `rig` that a module's tests ask for; one that moves the clock says so."""
    return Rig


@pytest.fixture
async def rig(rig_class, store_url, tmp_path):
    """Give the engine over a store, started."""
    made = rig_class(store_url, tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def puller(rig):
    return await PullAgent.enrolled(rig)
