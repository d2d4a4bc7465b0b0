"""Many readers of one execution: one call behind, each byte once for each of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kronforce.errors import Unavailable
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.execution_service_pb2 import ReadOutputResponse
from kronforce_gateway.live import feeds
from tests.contract.gateway.rig import Rig, gateway
from tests.contract.harness import until
from tests.fakes.http_reader import Answer

WATCH = "/api/executions/e1/watch"
STDOUT, STDERR = 1, 2


class Execution:
    """Output that grows at a test's word, handed out in chunks that are never the same twice."""

    def __init__(self) -> None:
        self.data = {STDOUT: b"", STDERR: b""}
        self.ended = False
        self.failure: Exception | None = None
        self.calls = 0
        self.open = 0
        self._grown = asyncio.Event()
        self._random = random.Random(7)

    def write(self, data: bytes, stream: int = STDOUT) -> None:
        self.data[stream] += data
        self._tell()

    def end(self, failure: Exception | None = None) -> None:
        self.ended, self.failure = True, failure
        self._tell()

    def _tell(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def read(self, request: Any, _call: Any) -> AsyncIterator[Any]:
        self.calls += 1
        self.open += 1
        places = {STDOUT: request.stdout_offset, STDERR: request.stderr_offset}
        try:
            while True:
                grown = self._grown
                chunks = [c for stream in places if (c := self._chunk(stream, places)) is not None]
                if chunks:
                    yield ReadOutputResponse(chunks=chunks)
                elif self.failure is not None:
                    raise self.failure
                elif self.ended:
                    return
                else:
                    await grown.wait()
        finally:
            self.open -= 1

    def _chunk(self, stream: int, places: dict[int, int]) -> OutputChunk | None:
        at = places[stream]
        data = self.data[stream][at : at + self._random.randint(1, 60_000)]
        if not data:
            return None
        places[stream] = at + len(data)
        return OutputChunk(stream=stream, offset=at, data=data)  # type: ignore[arg-type]  # number


class Reader:
    """What one reader got."""

    def __init__(self) -> None:
        self.text = {"stdout": b"", "stderr": b""}
        self.ids: list[str] = []
        self.names: list[str] = []

    async def read(self, answer: Answer, *, until: int = 0) -> None:
        """To the end, or until it has so many bytes; fails where they do not go on."""
        async for event in answer.events():
            self.names.append(event.name)
            self.ids.append(event.id)
            if event.name != "output":
                continue
            data = event.data
            assert data["offset"] == len(self.text[data["stream"]])
            self.text[data["stream"]] += data["text"].encode()
            places = "-".join(str(len(each)) for each in self.text.values())
            assert event.id == places
            if until and len(self.text["stdout"]) >= until:
                return


def words(count: int, seed: int) -> bytes:
    """Text with characters of every length."""
    return "".join(random.Random(seed).choices("abc é€😀\n", k=count)).encode()


async def read_all(rig: Rig, reader: Reader, **headers: str) -> Reader:
    async with rig.get(WATCH, headers=headers) as answer:
        await reader.read(answer)
    return reader


async def test_readers_share_one_call_and_each_gets_everything(tmp_path: Path) -> None:
    execution = Execution()
    async with gateway(tmp_path, ReadOutput=execution.read) as rig:
        readers = [asyncio.create_task(read_all(rig, Reader())) for _ in range(5)]
        await until(lambda: rig.gateway.readers == 5)
        for number in range(20):
            execution.write(words(3_000, number))
            execution.write(words(100, number), STDERR)
            await asyncio.sleep(0)
        execution.end()
        got = await asyncio.gather(*readers)

    assert execution.calls == 1
    assert [each.text["stdout"] for each in got] == [execution.data[STDOUT]] * 5
    assert [each.text["stderr"] for each in got] == [execution.data[STDERR]] * 5
    assert {each.names[-1] for each in got} == {"end"}


async def test_who_comes_late_reads_alone_as_far_as_the_others_are(tmp_path: Path) -> None:
    execution = Execution()
    async with gateway(tmp_path, ReadOutput=execution.read) as rig:
        execution.write(words(40_000, 1))
        async with rig.get(WATCH) as first:
            early = Reader()
            await early.read(first, until=len(execution.data[STDOUT]))
            late = asyncio.create_task(read_all(rig, Reader()))
            await until(lambda: execution.calls >= 2 and execution.open == 1)
            execution.write(words(5_000, 2))
            execution.write(words(500, 3), STDERR)
            execution.end()
            await early.read(first)
        got = await late

    assert got.text == early.text
    assert got.text["stdout"] == execution.data[STDOUT]
    assert got.text["stderr"] == execution.data[STDERR]


async def test_who_is_ahead_of_the_others_waits_for_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 50_000)
    execution = Execution()
    execution.write(words(30_000, 1) * 100)
    size = len(execution.data[STDOUT])
    async with (
        gateway(tmp_path, ReadOutput=execution.read) as rig,
        rig.get(WATCH, receive_buffer=4_096) as first,
    ):
        behind = Reader()
        await behind.read(first, until=1)
        ahead = Reader()
        ahead.text["stdout"] = execution.data[STDOUT]
        more = asyncio.create_task(read_all(rig, ahead, **{"last-event-id": f"{size}-0"}))
        await until(lambda: execution.calls >= 2)
        execution.write(b"more")
        await until(lambda: ahead.text["stdout"].endswith(b"more"))
        execution.end()
        await behind.read(first)
        await more

    assert behind.text == ahead.text
    assert ahead.text["stdout"] == execution.data[STDOUT]


async def test_a_slow_reader_slows_nobody_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 100_000)
    execution = Execution()
    async with (
        gateway(tmp_path, ReadOutput=execution.read) as rig,
        rig.get(WATCH, receive_buffer=4_096) as slow,
        rig.get(WATCH) as quick,
    ):
        execution.write(words(20_000, 1) * 100)
        execution.end()
        fast = Reader()
        await fast.read(quick)
        behind = Reader()
        await behind.read(slow)

    assert fast.text["stdout"] == behind.text["stdout"] == execution.data[STDOUT]
    assert execution.calls > 1


async def test_the_last_reader_that_leaves_ends_the_call(tmp_path: Path) -> None:
    execution = Execution()
    async with gateway(tmp_path, ReadOutput=execution.read) as rig:
        execution.write(b"begun")
        async with rig.get(WATCH) as one:
            await Reader().read(one, until=1)
            async with rig.get(WATCH) as two:
                await Reader().read(two, until=1)
            await until(lambda: rig.gateway.readers == 1)
            assert execution.open == 1
        await until(lambda: execution.open == 0)


async def test_other_keys_and_other_encodings_have_calls_of_their_own(tmp_path: Path) -> None:
    execution = Execution()
    execution.write(b"text")
    async with gateway(tmp_path, ReadOutput=execution.read) as rig:
        other = await rig.served.key()
        async with (
            rig.get(WATCH) as one,
            rig.get(WATCH, key=other) as two,
            rig.get(f"{WATCH}?encoding=base64") as three,
        ):
            for answer in (one, two, three):
                await anext(answer.events())
            assert execution.open == 3


async def test_what_ends_the_call_is_told_to_all(tmp_path: Path) -> None:
    execution = Execution()
    execution.write(b"text")
    async with gateway(tmp_path, ReadOutput=execution.read) as rig:
        readers = [asyncio.create_task(read_all(rig, Reader())) for _ in range(3)]
        await until(lambda: rig.gateway.readers == 3)
        execution.end(Unavailable("stopping"))
        got = await asyncio.gather(*readers)

    assert [each.names for each in got] == [["output", "failed"]] * 3
