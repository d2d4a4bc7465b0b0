"""TLS from end to end: a CA of one's own, the token that carries it, agent, client and `up`."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kronforce.v1.agent_pb2 import AgentState
from kronforce.v1.run_pb2 import Run
from kronforce_client import AsyncClient, Unreachable
from tests.system.rig import processes
from tests.system.rig.cluster import ADMIN_KEY, patient, until
from tests.system.rig.processes import Process
from tests.system.tls.certificates import Authority, make_authority, make_server

ONLINE = AgentState.AGENT_STATE_ONLINE


class Site:
    """A controller with TLS and whoever talks to it, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority(folder, "ca")
        self.certificate, self.key = make_server(folder, self.authority)
        self.data_dir = folder / "controller"
        self.address = ""
        self.started: list[Process] = []

    @property
    def tls(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))

    async def start(self, name: str, *arguments: str, **environ: str) -> Process:
        process = await processes.start(
            name,
            list(arguments),
            processes.clean_environment() | environ,
            self.folder / f"{name}.log",
        )
        self.started.append(process)
        return process

    async def serve(self, command: str, host: str) -> Process:
        """A controller, or `up`, on a free port; waits until it listens."""
        process = await self.start(
            command,
            *(command, "--grpc-bind", f"{host}:0", "--bind", "off", *self.tls),
            KRONFORCE_DATA_DIR=str(self.data_dir),
            KRONFORCE_BOOTSTRAP_ADMIN_KEY=ADMIN_KEY,
            KRONFORCE_AGENT_NAME="one",
        )
        path = self.data_dir / "endpoint.json"

        async def told() -> bool:
            assert process.running, process.tail()
            return path.exists()

        await until(told, "the server to listen")
        endpoint = json.loads(path.read_text())
        assert endpoint["tls"]
        self.address = endpoint["address"]
        return process

    async def agent(self, token: str) -> Process:
        file = self.folder / "token"
        file.touch(mode=0o600)
        file.write_text(token)
        where = ("--address", self.address, "--data-dir", str(self.folder / "agents"))
        return await self.start(
            "agent", "agent", "run", *where, "--name", "one", "--token-file", str(file)
        )

    async def kronforce(self, *arguments: str) -> tuple[int, str]:
        """The command with the admin's key, in the environment of no server; its code and text."""
        name = f"command{len(self.started)}"
        environ = {"KRONFORCE_KEY": ADMIN_KEY, "KRONFORCE_DATA_DIR": str(self.folder / "nowhere")}
        process = await self.start(name, *arguments, **environ)
        return await process.ended, process.tail()

    def client(self, authority: Authority | None = None) -> AsyncClient:
        ca = str((authority or self.authority).certificate)
        return AsyncClient(self.address, ADMIN_KEY, ca_file=ca)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Give certificates; whatever is started ends with the test."""
    made = Site(tmp_path)
    yield made
    for process in made.started:
        await process.kill()
    await processes.sweep(tmp_path)


async def ran(client: AsyncClient, name: str) -> Run:
    """A shell job that was run to its end."""
    task: dict[str, Any] = {"type": "shell", "command": "echo over TLS; sleep 0.2"}
    await client.jobs.create({"name": name, "target": {"type": "any"}, "task": task})
    run_id = (await client.jobs.trigger(name)).run.id

    async def over() -> Run | None:
        run = await client.runs.get(run_id)
        return run if run.HasField("finished_at") else None

    run = await until(patient(over), "the run to end")
    assert run is not None
    return run


async def online(client: AsyncClient) -> None:
    async def connected() -> bool:
        return (await client.agents.get("one")).state == ONLINE

    await until(patient(connected), "the agent to be online")


def secrets_of(folder: Path, token: str) -> list[bytes]:
    """What must never be seen: the key, the token's secret, the agent's credential."""
    credential = json.loads(next(folder.glob("agents/*/credential")).read_text())["secret"]
    return [ADMIN_KEY.encode(), token.split(".")[1].encode(), credential.encode()]


def seen(folder: Path, secrets: list[bytes]) -> list[str]:
    """Command lines and logs that hold one of them."""
    lines = [Path(f"/proc/{pid}/cmdline") for pid in processes.living(folder)]
    places = [*lines, *folder.rglob("*.log")]
    return [str(place) for place in places if any(s in place.read_bytes() for s in secrets)]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_an_agent_pins_the_ca_of_its_token_and_runs_a_job(site: Site, host: str) -> None:
    await site.serve("controller", host)
    async with site.client() as client:
        token = (await client.agents.create_join_token()).token
        await site.agent(token)
        await online(client)
        run = await ran(client, "job")
        execution = await client.executions.get(run.executions[0].id)
        assert execution.stdout == "over TLS\n"
        secrets = secrets_of(site.folder, token)
        assert len(processes.living(site.folder)) >= 3  # controller, agent, launcher
        assert seen(site.folder, secrets) == []
    pinned = json.loads(next(site.folder.glob("agents/*/credential")).read_text())["ca_pem"]
    assert ssl.PEM_cert_to_DER_cert(pinned) == ssl.PEM_cert_to_DER_cert(
        site.authority.certificate.read_text()
    )


async def test_an_agent_whose_token_pins_another_ca_is_not_let_in_and_says_why(
    site: Site, tmp_path: Path
) -> None:
    await site.serve("controller", "127.0.0.1")
    other = make_authority(tmp_path, "other")
    async with site.client() as client:
        token = (await client.agents.create_join_token()).token
        der = ssl.PEM_cert_to_DER_cert(other.certificate.read_text())
        wrong = base64.urlsafe_b64encode(der).decode().rstrip("=")
        agent = await site.agent(".".join([*token.split(".")[:2], wrong]))

        async def refused() -> bool:
            return "does not come from the CA that this agent trusts" in agent.tail()

        await until(refused, "the agent to say why")
        assert token.split(".")[1] not in agent.tail()
        assert (await client.agents.page()).agents == []


async def test_an_agent_whose_token_has_no_ca_says_what_it_needs(site: Site) -> None:
    await site.serve("controller", "127.0.0.1")
    async with site.client() as client:
        token = (await client.agents.create_join_token()).token
    agent = await site.agent(token.rpartition(".")[0])

    async def told() -> bool:
        return "--ca FILE" in agent.tail()

    await until(told, "the agent to say what it needs")


async def test_a_client_with_the_ca_is_served_and_with_another_is_not(
    site: Site, tmp_path: Path
) -> None:
    await site.serve("controller", "127.0.0.1")
    other = make_authority(tmp_path, "other")
    async with site.client(other) as client:
        with pytest.raises(Unreachable, match="not trusted"):
            await client.jobs.page()


async def test_the_command_works_with_the_ca_and_without_says_what_to_do(site: Site) -> None:
    await site.serve("controller", "127.0.0.1")
    where = ("status", "--address", site.address)
    good, text = await site.kronforce(*where, "--ca", str(site.authority.certificate))
    assert (good, "agents" in text) == (0, True)
    bare, text = await site.kronforce(*where)
    assert bare != 0
    assert re.search(r"--ca FILE", text)
    absent, text = await site.kronforce(*where, "--ca", str(site.folder / "absent.pem"))
    assert absent != 0
    assert "absent.pem cannot be read" in text
    assert "Traceback" not in text
    rubbish, text = await site.kronforce(*where, "--ca", str(site.folder / "server.ext"))
    assert rubbish != 0
    assert "server.ext is no certificate" in text


async def test_up_with_tls_runs_a_job_on_the_agent_of_this_host(site: Site) -> None:
    up = await site.serve("up", "127.0.0.1")
    async with site.client() as client:
        await online(client)
        assert (await ran(client, "job")).executions[0].stdout_bytes == len("over TLS\n")
    assert seen(site.folder, [ADMIN_KEY.encode()]) == []
    assert await up.stop() == 0


async def test_beyond_loopback_without_tls_it_refuses_and_names_the_way_out(site: Site) -> None:
    process = await site.start(
        "plain",
        *("controller", "--grpc-bind", "0.0.0.0:0", "--bind", "off"),
        KRONFORCE_DATA_DIR=str(site.data_dir),
    )
    assert await asyncio.wait_for(process.ended, processes.START_LIMIT_SECS) != 0
    assert "--tls-cert" in process.tail()
    assert "--insecure" in process.tail()
