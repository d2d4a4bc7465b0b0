"""One kind of HTTP call from many connections, each with one call under way: calls a second."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench.books import CLIENT_ID, Books, Client, Tell, Void, one, percentiles
from tests.bench.http_client import Connection, connect, request


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    requests = _requests(spec, job_id, os.environ["KRONFORCE_KEY"])
    async with Books(client) as books:
        for _ in range(spec.get("runs_first", 0)):
            books.triggered.add(await client.trigger(one(job_id)))
        callers = _Callers(requests, spec, books)
        connections = [await connect(spec["http"]) for _ in range(spec["connections"])]
        async with asyncio.TaskGroup() as tasks:
            for each in connections:
                tasks.create_task(callers.call(each))
            await asyncio.sleep(spec["warm_secs"])
            tell("begin")
            callers.samples, began = [], time.perf_counter()
            await asyncio.sleep(spec["seconds"])
            samples, took = callers.samples, time.perf_counter() - began
            tell("end", n=len(samples))
            callers.stopped = True
        for each in connections:
            each.close()
        if spec["call"] == "trigger":
            await books.balance()
    return {"n": len(samples), "rate": len(samples) / took, **percentiles(samples)}


class _Callers:
    def __init__(self, requests: Iterator[bytes], spec: dict[str, Any], books: Books) -> None:
        self.samples: list[float] = []
        self.stopped = False
        self._requests = requests
        self._expected: int = spec["status"]
        self._of_page: int = spec.get("page", 0)
        self._seen: Callable[[bytes], None] = lambda _: None
        if spec["call"] == "trigger":
            self._seen = lambda body: books.triggered.add(json.loads(body)["run"]["id"])

    async def call(self, connection: Connection) -> None:
        checked = False
        while not self.stopped:
            began = time.perf_counter()
            status, body = await connection.call(next(self._requests))
            self.samples.append(time.perf_counter() - began)
            if status != self._expected:
                raise Void(f"an answer was {status}: {body[:300]!r}")
            if self._of_page and not checked:
                checked = True
                if (found := len(json.loads(body)["data"])) != self._of_page:
                    raise Void(f"a page had {found} items instead of {self._of_page}")
            self._seen(body)


def _requests(spec: dict[str, Any], job_id: str, key: str) -> Iterator[bytes]:
    verb, path = spec["verb"], spec["path"].format(job_id=job_id)
    if spec["call"] != "create":
        body = json.dumps({"client_id": CLIENT_ID}).encode() if verb == "POST" else b""
        return itertools.repeat(request(verb, path, key, body))
    return (
        request(verb, path, key, json.dumps({**spec["body"], "name": f"made-{number}"}).encode())
        for number in itertools.count()
    )
