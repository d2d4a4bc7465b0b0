"""How soon a custom agent that waits over HTTP has what was triggered: from the trigger's reply,
which comes after its commit, to the whole of the poll's answer.

One at a time: the agent calls back before the next trigger. Both are on connections of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from typing import Any
from urllib.parse import urlsplit

from tests.bench.books import Client, Tell, Void, percentiles
from tests.bench.http_client import Connection, connect, request

NAME = "bench-puller"
WAIT_SECS = 30
# Between a poll's begin and the trigger, so that polls are met at any moment of their wait.
LONGEST_PAUSE_SECS = 0.02

_JOB = {
    "name": "for-the-puller",
    "task": {"type": "custom", "agent_task_type": "bench", "data": {"payload": "x" * 100}},
    "target": {"type": "agent", "agent_id": NAME},
}


async def measure(_: Client, __: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    agent, people = await connect(spec["http"]), await connect(spec["http"])
    puller = _Puller(agent, people, os.environ["KRONFORCE_KEY"])
    await puller.begin()
    await puller.run_for(spec["warm_secs"])
    tell("begin")
    samples = await puller.run_for(spec["seconds"])
    tell("end", n=len(samples))
    agent.close()
    people.close()
    return {"n": len(samples), **percentiles(samples)}


class _Puller:
    def __init__(self, agent: Connection, people: Connection, key: str) -> None:
        self._agent = agent
        self._people = people
        self._key = key
        self._rng = random.Random(7)
        self._credential = ""
        self._poll = b""
        self._trigger = request("POST", f"/api/jobs/{_JOB['name']}/trigger", key, b"{}")

    async def begin(self) -> None:
        token = await self._ask(self._people, "POST", "/api/agents/join-tokens", self._key, {})
        who = {"name": NAME, "agent_type": "custom", "join_token": token["token"]}
        made = await self._ask(self._agent, "POST", "/api/agents/register", self._key, who)
        self._credential = made["credential"]
        path = f"/api/agent-queue/{made['agent_id']}/next?wait={WAIT_SECS}"
        self._poll = request("GET", path, self._credential)
        await self._ask(self._people, "POST", "/api/jobs", self._key, _JOB)

    async def run_for(self, seconds: float) -> list[float]:
        samples = []
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop:
            samples.append(await self._one())
        return samples

    async def _one(self) -> float:
        poll = self._agent.call(self._poll)
        await asyncio.sleep(self._rng.uniform(0.001, LONGEST_PAUSE_SECS))
        given: list[float] = []
        poll.add_done_callback(lambda _: given.append(time.perf_counter()))
        status, body = await self._people.call(self._trigger)
        stored = time.perf_counter()
        _check(status, body)
        status, body = await poll
        _check(status, body)
        await self._call_back(json.loads(body))
        return max(0.0, given[0] - stored)

    async def _call_back(self, work: dict[str, Any]) -> None:
        report = {"execution_id": work["execution_id"], "status": "succeeded", "exit_code": 0}
        path = urlsplit(work["callback_url"]).path
        await self._ask(self._agent, "POST", path, self._credential, report)

    async def _ask(
        self, on: Connection, verb: str, path: str, key: str, body: dict[str, Any]
    ) -> Any:
        status, answer = await on.call(request(verb, path, key, json.dumps(body).encode()))
        _check(status, answer)
        return json.loads(answer)


def _check(status: int, body: bytes) -> None:
    if status not in (200, 201):
        raise Void(f"an answer was {status}: {body[:300]!r}")
