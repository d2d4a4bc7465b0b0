"""Streaming methods over HTTP: events that resume, downloads, ends, and readers that stall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kronforce.errors import RunNotFound, Unavailable
from kronforce.v1 import event_service_pb2, execution_service_pb2
from kronforce.v1.event_pb2 import Event
from kronforce.v1.execution_pb2 import OutputChunk
from kronforce.v1.run_pb2 import RunUpdate, RunUpdates
from kronforce_gateway.live import streams
from tests.contract.gateway.rig import gateway
from tests.contract.harness import until

OUTPUT, WATCH = "/api/executions/e1/output", "/api/executions/e1/watch"
EVENTS = {"accept": "text/event-stream"}
STDOUT, STDERR = 1, 2


def chunk(data: bytes, offset: int, stream: int = STDOUT, sequence: int = 1) -> OutputChunk:
    return OutputChunk(stream=stream, offset=offset, data=data, sequence=sequence)  # type: ignore[arg-type]  # number


def reading(*frames: list[OutputChunk], seen: list[Any] | None = None) -> Any:
    async def read_output(request: Any, _call: Any) -> AsyncIterator[Any]:
        if seen is not None:
            seen.append(request)
        for chunks in frames:
            yield execution_service_pb2.ReadOutputResponse(chunks=chunks)

    return read_output


async def test_output_comes_as_events_with_text_offsets_and_an_end(tmp_path: Path) -> None:
    frames = [chunk(b"one\n", 0), chunk(b"oops", 0, STDERR, 2)], [chunk(b"two", 4, STDOUT, 3)]
    async with (
        gateway(tmp_path, ReadOutput=reading(*frames)) as rig,
        rig.get(WATCH) as answer,
    ):
        events = [event async for event in answer.events()]

    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert [(event.name, event.id) for event in events] == [
        ("output", "4-0"), ("output", "4-4"), ("output", "7-4"), ("end", "7-4!"),
    ]  # fmt: skip
    assert events[1].data == {"stream": "stderr", "offset": 0, "text": "oops", "sequence": 2}


async def test_a_character_that_a_chunk_cuts_comes_whole_and_ids_stand_before_it(
    tmp_path: Path,
) -> None:
    data = "a€b".encode()
    frames = [chunk(data[:2], 0)], [chunk(data[2:3], 2)], [chunk(data[3:] + b"\xe2", 3)]
    async with (
        gateway(tmp_path, ReadOutput=reading(*frames)) as rig,
        rig.get(WATCH) as answer,
    ):
        events = [event async for event in answer.events()]

    texts = [(event.data["offset"], event.data["text"], event.id) for event in events[:-1]]
    assert texts == [(0, "a", "1-0"), (1, "€b", "5-0"), (5, "\ufffd", "6-0")]


async def test_bytes_come_as_they_are_in_base64(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, ReadOutput=reading([chunk(b"\xff\x00", 0)])) as rig,
        rig.get(f"{WATCH}?encoding=base64") as answer,
    ):
        first = await anext(answer.events())

    assert first.data["data"] == "/wA="
    assert "text" not in first.data


async def test_a_reader_goes_on_after_its_last_id(tmp_path: Path) -> None:
    seen: list[Any] = []
    async with gateway(tmp_path, ReadOutput=reading(seen=seen)) as rig:
        async with rig.get(WATCH, headers={"last-event-id": "70-9"}) as answer:
            end = await anext(answer.events())
        async with rig.get(f"{WATCH}?last_event_id=5-0&follow=false") as answer:
            await answer.body()

    assert [(r.stdout_offset, r.stderr_offset, r.follow) for r in seen] == [
        (70, 9, True), (5, 0, False),
    ]  # fmt: skip
    assert end.id == "70-9!"


async def test_who_has_everything_is_sent_away(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path) as rig,
        rig.get(WATCH, headers={"last-event-id": "70-9!"}) as answer,
    ):
        assert answer.status == 204


async def test_an_id_that_is_none_is_refused(tmp_path: Path) -> None:
    runs = "/api/runs/r1/watch"
    too_far = "9" * 20
    wrong = [(WATCH, "here"), (WATCH, f"{too_far}-0"), (runs, "here")]
    wrong += [(runs, f"e1.{place}.0~~") for place in (too_far, "-5", "1_0", " 1", "")]
    async with gateway(tmp_path) as rig:
        for path, id_ in wrong:
            async with rig.get(path, headers={"last-event-id": id_}) as answer:
                assert answer.status == 400, id_
                assert (await answer.json())["details"][0]["field"] == "Last-Event-ID"


async def test_runs_have_ids_of_all_places_and_go_on_there(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def watch(request: Any, _call: Any) -> AsyncIterator[Any]:
        seen.append(request)
        one, two = RunUpdate(run_id="r1"), RunUpdate(run_id="r1", cursor="x-7")
        one.output.execution_id = "e1"
        one.output.chunk.CopyFrom(chunk(b"hi", 0))
        two.state.revision = 3
        yield RunUpdates(updates=[one, two])

    async with gateway(tmp_path, WatchRuns=watch) as rig:
        async with rig.get("/api/runs/r1/watch?include_output=true") as answer:
            events = [event async for event in answer.events()]
        async with rig.get("/api/runs/r1/watch", headers={"last-event-id": events[1].id}) as again:
            await again.body()

    assert [(e.name, e.id) for e in events] == [
        ("output", "e1.2.0~~"), ("state", "e1.2.0~~x-7"), ("end", "e1.2.0~~x-7!"),
    ]  # fmt: skip
    assert events[0].data["output"]["chunk"]["text"] == "hi"
    assert events[1].data["state"]["revision"] == 3
    assert (seen[0].run_id, seen[0].include_output) == ("r1", True)
    places = {(p.execution_id, p.stream): p.offset for p in seen[1].positions}
    assert (seen[1].cursor, places) == ("x-7", {("e1", STDOUT): 2, ("e1", STDERR): 0})


async def test_events_have_their_cursor_as_id_also_what_filters_hid(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def watch(request: Any, _call: Any) -> AsyncIterator[Any]:
        seen.append(request.cursor)
        yield event_service_pb2.WatchEventsResponse(cursor="c1")
        yield event_service_pb2.WatchEventsResponse(
            events=[Event(kind="job.created", cursor="c2")], cursor="c2"
        )
        yield event_service_pb2.WatchEventsResponse(cursor="c5")

    async with gateway(tmp_path, WatchEvents=watch) as rig:
        async with rig.get("/api/events/watch") as answer:
            events = [event async for event in answer.events()]
        async with rig.get("/api/events/watch", headers={"last-event-id": "c5"}) as again:
            await again.body()

    assert [(e.name, e.id) for e in events] == [
        ("", "c1"), ("event", "c2"), ("", "c5"), ("end", "c5!"),
    ]  # fmt: skip
    assert events[1].data["kind"] == "job.created"
    assert seen == ["", "c5"]


async def test_an_empty_frame_is_a_heartbeat(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, ReadOutput=reading([])) as rig,
        rig.get(WATCH) as answer,
    ):
        assert b":\n\n" in (await answer.body()).partition(b"kronforce\n\n")[2]


async def test_a_refusal_is_an_answer_like_any_other(tmp_path: Path) -> None:
    async def watch(_request: Any, _call: Any) -> AsyncIterator[Any]:
        raise RunNotFound("no run 'x'")
        yield

    async with gateway(tmp_path, WatchRuns=watch) as rig:
        async with rig.get("/api/runs/x/watch") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (404, "RUN_NOT_FOUND")
        async with rig.get("/api/runs/x/watch", key={}) as answer:
            assert answer.status == 401


async def test_what_fails_later_is_told_as_an_event(tmp_path: Path) -> None:
    async def watch(_request: Any, _call: Any) -> AsyncIterator[Any]:
        yield RunUpdates()
        raise Unavailable("the server is stopping")

    async with (
        gateway(tmp_path, WatchRuns=watch) as rig,
        rig.get("/api/runs/x/watch") as answer,
    ):
        (failed,) = [event async for event in answer.events()]

    assert (failed.name, failed.data["reason"]) == ("failed", "UNAVAILABLE")
    assert failed.id == ""


async def test_a_download_is_the_bytes_and_says_what_is_missing(tmp_path: Path) -> None:
    gap = OutputChunk(stream=STDOUT, offset=4, gap_bytes=9)  # type: ignore[arg-type]  # number
    frames = [chunk(b"one\n", 0), gap], [chunk("zwölf".encode(), 13)]
    async with (
        gateway(tmp_path, ReadOutput=reading(*frames)) as rig,
        rig.get(f"{OUTPUT}?download=1") as answer,
    ):
        body = await answer.body()

    assert body == "one\n\n[9 bytes are not kept]\nzwölf".encode()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="execution-e1.log"'
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_download_of_bytes_is_no_text(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, ReadOutput=reading([chunk(b"\x89PNG\x00", 0)])) as rig,
        rig.get(OUTPUT) as answer,
    ):
        assert answer.headers["content-type"] == "application/octet-stream"


async def test_a_download_that_fails_does_not_look_whole(tmp_path: Path) -> None:
    async def read_output(_request: Any, _call: Any) -> AsyncIterator[Any]:
        yield execution_service_pb2.ReadOutputResponse(chunks=[chunk(b"half", 0)])
        raise Unavailable("the server is stopping")

    async with (
        gateway(tmp_path, ReadOutput=read_output) as rig,
        rig.get(OUTPUT) as answer,
    ):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await answer.body()


async def endless(request: Any, _call: Any) -> AsyncIterator[Any]:
    offset = request.stdout_offset
    while True:
        data = b"x" * 60_000
        yield execution_service_pb2.ReadOutputResponse(chunks=[chunk(data, offset)])
        offset += len(data)
        await asyncio.sleep(0)


async def test_a_reader_that_leaves_ends_the_call_behind(tmp_path: Path) -> None:
    async with gateway(tmp_path, ReadOutput=endless) as rig:
        async with rig.get(WATCH) as answer:
            await anext(answer.events())
            assert rig.served.in_flight.streams == 1
        await until(lambda: rig.served.in_flight.streams == 0)


async def test_a_reader_that_stalls_is_cut_and_slows_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALL_SECS", 0.3)
    async with gateway(tmp_path, ReadOutput=endless) as rig:
        async with (
            rig.get(WATCH, receive_buffer=4_096),
            rig.get(WATCH) as quick,
        ):
            assert rig.gateway.readers == 2
            async for _ in quick.events():
                if rig.gateway.readers == 1:
                    break
        await until(lambda: rig.served.in_flight.streams == 0)


async def test_a_stop_ends_streams_at_once_and_in_order(tmp_path: Path) -> None:
    async def quiet(_request: Any, _call: Any) -> AsyncIterator[Any]:
        yield RunUpdates()
        await asyncio.Event().wait()

    async with (
        gateway(tmp_path, WatchRuns=quiet) as rig,
        rig.get("/api/runs/x/watch") as answer,
    ):
        body = asyncio.create_task(answer.body())
        await rig.listener.stop()
        assert (await body).startswith(b"retry: 2000\n")


async def test_too_many_readers_are_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path, ReadOutput=endless) as rig:
        monkeypatch.setattr(rig.gateway._streams, "_max_readers", 1)
        async with rig.get(WATCH), rig.get(WATCH) as answer:
            assert answer.status == 503
            assert answer.headers["retry-after"] == "2"
