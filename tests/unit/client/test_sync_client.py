"""The synchronous face: the same methods, and a loop of its own."""

import ast
import asyncio
import inspect
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kronforce_client import Client, NotFound, sync_api
from kronforce_client.agents import Agents
from kronforce_client.aio import AsyncClient
from kronforce_client.events import Events
from kronforce_client.executions import Executions
from kronforce_client.groups import Groups
from kronforce_client.handle import RunHandle
from kronforce_client.jobs import Jobs
from kronforce_client.keys import Keys
from kronforce_client.portal import Portal
from kronforce_client.runs import Runs
from kronforce_client.stats import Stats
from kronforce_client.system import System
from kronforce_client.variables import Variables
from kronforce_client.webhooks import Webhooks
from tests.fakes.api_server import KEY, STDOUT, FakeController, Story

# Without the filter a hundred calls are reported dozens of times.
CALLS = 200

TWINS = {
    "jobs": Jobs,
    "runs": Runs,
    "executions": Executions,
    "agents": Agents,
    "groups": Groups,
    "variables": Variables,
    "webhooks": Webhooks,
    "keys": Keys,
    "events": Events,
    "stats": Stats,
    "system": System,
    "handle": RunHandle,
}


@pytest.fixture
def portal():
    shared = Portal.acquire()
    yield shared
    Portal.release()


@pytest.fixture
def fake(portal):
    async def begin():
        server = FakeController()
        await server.start()
        return server

    server = portal.call(begin())
    yield server
    portal.call(server.close())


def public_methods(kind):
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def as_synchronous(annotation):
    return annotation.replace("Stream[", "Iteration[").replace("pb.", "")


@pytest.mark.parametrize("name", TWINS)
def test_both_clients_have_the_same_methods_with_the_same_signatures(name):
    twin = TWINS[name]
    theirs = public_methods(twin)
    ours = public_methods(getattr(sync_api, twin.__name__))
    assert ours.keys() == theirs.keys()
    for method in theirs:
        wanted, made = inspect.signature(theirs[method]), inspect.signature(ours[method])
        assert list(made.parameters) == list(wanted.parameters), method
        for key, parameter in wanted.parameters.items():
            assert made.parameters[key].default == parameter.default, (method, key)
            assert made.parameters[key].kind == parameter.kind, (method, key)
        returned = as_synchronous(wanted.return_annotation)
        assert made.return_annotation.rpartition("_pb2.")[2] in (
            returned,
            returned.rpartition(".")[2],
        ), method


def test_the_constructors_take_the_same():
    assert list(inspect.signature(Client).parameters) == list(
        inspect.signature(AsyncClient).parameters
    )


def test_a_run_is_made_followed_and_read(fake):
    with Client(fake.address, KEY) as kf:
        kf.jobs.create({"name": "hello", "task": {"type": "noop"}})
        fake.stories["hello"] = Story(output=[(STDOUT, b"one"), (STDOUT, b"two")])
        run = kf.jobs.run("hello")
        assert b"".join(chunk.data for chunk in run.output()) == b"onetwo"
        assert run.result().job_name == "hello"
        assert [job.name for job in kf.jobs.list()] == ["hello"]
        with pytest.raises(NotFound):
            kf.jobs.get("nope")


def test_both_clients_work_at_once_and_nothing_is_reported(fake, caplog):
    """Calls of either wake the loop of both."""
    fake.add_job("hello")

    async def ask():
        async with AsyncClient(fake.address, KEY) as kf:
            for _ in range(CALLS // 4):
                await asyncio.gather(*(kf.jobs.get("hello") for _ in range(4)))

    with Client(fake.address, KEY) as kf:
        other = threading.Thread(target=lambda: asyncio.run(ask()))
        other.start()
        for _ in range(CALLS):
            assert kf.jobs.get("hello").name == "hello"
        other.join()
    assert [record.getMessage() for record in caplog.records] == []


def test_other_errors_in_callbacks_are_reported(portal, caplog):
    def fails():
        raise BlockingIOError("no wake of grpc")

    async def fail():
        asyncio.get_running_loop().call_soon(fails)
        await asyncio.sleep(0)

    portal.call(fail())
    asyncio.run(fail())
    assert len(caplog.records) == 2


def test_leaving_an_iteration_ends_its_stream(fake, portal):
    fake.add_job("long", Story(until=asyncio.Event()))
    with Client(fake.address, KEY) as kf:
        reply = kf.jobs.trigger("long")
        with kf.runs.watch(runs=[reply.run.id]) as updates:
            next(updates)
        portal.call(fake.until(lambda: fake.open_streams == 0))


def test_the_last_client_ends_the_thread():
    def threads():
        return [each for each in threading.enumerate() if each.name == "kronforce-client"]

    first, second = Client("127.0.0.1:1"), Client("127.0.0.1:1")
    assert len(threads()) == 1
    first.close()
    assert len(threads()) == 1
    second.close()
    assert threads() == []


def test_what_was_generated_is_what_the_generator_writes_now(tmp_path):
    root = Path(inspect.getfile(sync_api)).parent
    made = ast_of((root / "sync_api.py").read_text())
    script = root.parent / "generate_sync.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "sync_api.py")], check=False)
    assert done.returncode == 0
    assert ast_of((tmp_path / "sync_api.py").read_text()) == made


def test_docstrings_say_what_the_contract_says_now(tmp_path):
    root = Path(inspect.getfile(sync_api)).parent
    script = root.parent / "generate_docstrings.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], check=False)
    assert done.returncode == 0
    for made in tmp_path.iterdir():
        assert ast_of(made.read_text()) == ast_of((root / made.name).read_text()), made.name


def ast_of(text):
    tree = ast.parse(text)
    return [ast.dump(node) for node in tree.body if isinstance(node, ast.ClassDef)]
