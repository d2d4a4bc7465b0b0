"""Records what happens, from outside: answers, watches, events; at the end rows, notes, output.

Gives a `History` for the checker. Only the rows of evidence are read behind the API's back,
because no call shows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from kronforce.core.ids import to_text
from kronforce.store.database import open_database
from kronforce.store.tables import evidence
from kronforce.v1 import job_service_pb2
from kronforce.v1.execution_pb2 import Execution, ExecutionState, OutputStream
from kronforce.v1.execution_service_pb2 import ReadOutputRequest
from kronforce.v1.execution_service_pb2_grpc import ExecutionServiceStub
from kronforce.v1.job_service_pb2_grpc import JobServiceStub
from kronforce.v1.run_pb2 import Run
from kronforce_client import ClientError, Conflict, Unreachable
from tests.system.checker.history import (
    Acknowledged,
    Attempt,
    Audit,
    Fired,
    Happened,
    History,
    Piece,
    Policy,
    Seen,
)
from tests.system.checker.history import Run as RunRow
from tests.system.rig.cluster import Cluster, until
from tests.system.rig.tasks import Notes

Answer = TypeVar("Answer")

GROUP = "Default"
# Between two tries of a trigger that got no answer.
RETRY_SECS = 0.1
ANSWER_LIMIT_SECS = 60.0
# Questions on their way at a time: histories of herds have ten thousand runs.
AT_ONCE = 16
TERMINAL_FROM = ExecutionState.EXECUTION_STATE_SUCCEEDED


class Recorder:
    """One history in the making."""

    def __init__(self, cluster: Cluster, notes: Notes, patience_secs: float = 60.0) -> None:
        self._cluster = cluster
        self._notes = notes
        # For how long followers may take to catch up; what they did not get then is judged.
        self._patience_secs = patience_secs
        self.policies: dict[str, Policy] = {}
        self.acknowledged: list[Acknowledged] = []
        self._seen: list[Seen] = []
        self._followed: list[Happened] = []
        self._cursor = ""
        self._tasks: list[asyncio.Task[None]] = []

    # While it happens.

    async def follow(self) -> None:
        """Begin to watch runs and events; both go on through restarts of the controller."""
        page = await self._cluster.client.events.page(page_size=1)
        self._cursor = page.events[0].cursor
        self._tasks = [
            asyncio.ensure_future(_for_ever(self._watch_runs)),
            asyncio.ensure_future(_for_ever(self._watch_events)),
        ]

    async def _watch_runs(self) -> None:
        async with self._cluster.client.runs.watch(group=GROUP) as updates:
            async for update in updates:
                if update.WhichOneof("update") == "state":
                    state = update.state
                    self._seen.append(
                        Seen(
                            run_id=update.run_id,
                            revision=state.revision,
                            state=word(state.state),
                        )
                    )

    async def _watch_events(self) -> None:
        async with self._cluster.client.events.watch(cursor=self._cursor) as events:
            async for event in events:
                self._followed.append(_happened(event))
                self._cursor = event.cursor

    async def trigger(self, job: str, *, times: int = 1) -> str:
        """Trigger until it is answered, always with one request id; note the answers.

        With several `times`, so many copies are under way at once.
        """
        request_id = uuid.uuid4().hex
        ids = await asyncio.gather(*(self._answered(job, request_id) for _ in range(times)))
        for run_id in ids:
            self.acknowledged.append(Acknowledged(job=job, request_id=request_id, run_id=run_id))
        return ids[0]

    async def _answered(self, job: str, request_id: str) -> str:
        deadline = asyncio.get_running_loop().time() + ANSWER_LIMIT_SECS
        while True:
            try:
                reply = await self._cluster.client.jobs.trigger(job, request_id=request_id)
            except Unreachable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECS)
            else:
                return reply.run.id

    async def cancel(self, run_id: str) -> None:
        """Cancel until it is answered; that it has ended meanwhile is an answer."""
        deadline = asyncio.get_running_loop().time() + ANSWER_LIMIT_SECS
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(Unreachable):
                with contextlib.suppress(Conflict):
                    await self._cluster.client.runs.cancel(run_id)
                return
            await asyncio.sleep(RETRY_SECS)
        raise AssertionError(f"cancelling {run_id} was never answered")

    # Afterwards.

    async def settled(self, limit_secs: float = 60.0) -> None:
        """Wait until every run has ended and who follows has seen all of it."""
        try:
            await until(self._all_ended, "every run to end", limit_secs)
        except AssertionError as late:
            raise AssertionError(f"{late}: {await self._open_runs()}") from None
        if self._tasks:
            await until(self._all_followed, "followers to catch up", self._patience_secs)

    async def _all_ended(self) -> bool:
        try:
            runs = [run async for run in self._cluster.client.runs.list()]
        except ClientError:
            return False
        known = {run.id for run in runs}
        asked = {ack.run_id for ack in self.acknowledged}
        return asked <= known and all(run.HasField("finished_at") for run in runs)

    async def _open_runs(self) -> list[str]:
        """Which, and how they stand; also those that were answered and are not there."""
        runs = {run.id: run async for run in self._cluster.client.runs.list()}
        found = [
            f"{run.job_name} {run.id} {word(run.state)} {run.state_reason}"
            for run in runs.values()
            if not run.HasField("finished_at")
        ]
        gone = [ack for ack in self.acknowledged if ack.run_id not in runs]
        return found + [f"{ack.job} {ack.run_id} is not there" for ack in gone]

    async def _all_followed(self) -> bool:
        for task in self._tasks:
            if task.done():
                task.result()
        page = await self._cluster.client.events.page(page_size=1)
        newest = page.events[0].cursor if page.events else ""
        return not newest or any(event.cursor == newest for event in self._followed)

    async def history(self) -> History:
        """Everything that was recorded; nothing may be running any more."""
        client = self._cluster.client
        events = await self._everything_told()
        listed = [run async for run in client.runs.list()]
        runs = await _of_each(client.runs.get, [run.id for run in listed])
        ids = [execution.id for run in runs for execution in run.executions]
        outputs = await _of_each(self._output, ids)
        return History(
            policies=self.policies,
            acknowledged=tuple(self.acknowledged),
            runs=tuple(_run(run) for run in runs),
            events=events,
            followed=tuple(self._followed) if self._tasks else None,
            seen=tuple(self._seen),
            effects=self._notes.effects(),
            outputs=dict(zip(ids, outputs, strict=True)),
            fires=await self._fires(),
            evidence=await asyncio.to_thread(_evidence, self._cluster.db),
            audit=await self._audit(),
        )

    async def _audit(self) -> Audit:
        client = self._cluster.client
        found = await client.audit.verify()
        entries = [entry async for entry in client.audit.list(operation="job.triggered")]
        return Audit(
            faults=tuple(f"{fault.fault}: {fault.message}" for fault in found.faults),
            triggered=tuple(str(entry.details["run_id"]) for entry in entries),
        )

    async def _everything_told(self) -> tuple[Happened, ...]:
        """The events as they are listed; who follows has come so far, and is stopped.

        What happens from now on, such as an agent's last word, is in neither.
        """
        listed = [event async for event in self._cluster.client.events.list()]
        events = tuple(_happened(event) for event in reversed(listed))
        last = events[-1].cursor if events else ""
        if self._tasks and events:
            with contextlib.suppress(AssertionError):  # the checker says what is missing
                await until(lambda: self._has_followed_to(last), "followers", self._patience_secs)
        await self._stop_following()
        told = [event.cursor for event in self._followed]
        if last in told:
            del self._followed[told.index(last) + 1 :]
        return events

    async def _has_followed_to(self, cursor: str) -> bool:
        return any(event.cursor == cursor for event in self._followed)

    async def _stop_following(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _output(self, execution_id: str) -> tuple[Piece, ...]:
        """As the server sends it: the comfortable call would hide what comes twice."""
        caller = self._cluster.client.executions._caller
        stub: Any = ExecutionServiceStub(caller.channel)
        request = ReadOutputRequest(
            execution_id=execution_id, stream=OutputStream.OUTPUT_STREAM_STDOUT
        )
        found: list[Piece] = []
        async with caller.stream(stub.ReadOutput, request) as replies:
            async for reply in replies:
                found += [
                    Piece(offset=chunk.offset, data=chunk.data, gap=chunk.gap_bytes)
                    for chunk in reply.chunks
                ]
        return tuple(found)

    async def _fires(self) -> tuple[Fired, ...]:
        found = await _of_each(self._fires_of, list(self.policies))
        return tuple(fired for fires in found for fired in fires)

    async def _fires_of(self, job: str) -> list[Fired]:
        caller = self._cluster.client.jobs._caller
        stub: Any = JobServiceStub(caller.channel)
        found: list[Fired] = []
        token = ""
        while True:
            request = job_service_pb2.ListFiresRequest(job_id=job, page_token=token)
            page: Any = await caller.unary(stub.ListFires, request)
            found += [_fired(job, fire) for fire in page.fires]
            token = page.next_page_token
            if not token:
                return found


async def _for_ever(watch: Callable[[], Awaitable[None]]) -> None:
    """The client goes on after a cut by itself, but gives up a stream that never came up."""
    while True:
        with contextlib.suppress(Unreachable):
            await watch()


def word(state: int) -> str:
    name: str = ExecutionState.Name(state)  # type: ignore[arg-type]
    return name.removeprefix("EXECUTION_STATE_").lower()


def _run(run: Run) -> RunRow:
    return RunRow(
        id=run.id,
        job=run.job_name,
        state=word(run.state),
        nominal_at=_instant(run, "nominal_at"),
        finished_at=_instant(run, "finished_at"),
        attempts=tuple(_attempt(execution) for execution in run.executions),
    )


def _attempt(execution: Execution) -> Attempt:
    return Attempt(
        id=execution.id,
        target=execution.target_index,
        number=execution.attempt_number,
        state=word(execution.state),
        reason=execution.state_reason,
        fence=execution.fence,
        created_at=execution.created_at.ToMicroseconds(),
        started_at=_instant(execution, "started_at"),
        finished_at=_instant(execution, "finished_at"),
    )


def _instant(message: Any, field: str) -> int | None:
    return getattr(message, field).ToMicroseconds() if message.HasField(field) else None


def _happened(event: Any) -> Happened:
    return Happened(
        cursor=event.cursor,
        kind=event.kind,
        run_id=event.run_id,
        execution_id=event.execution_id,
        at=_instant(event, "at"),
    )


def _fired(job: str, fire: Any) -> Fired:
    return Fired(
        job=job,
        nominal_at=fire.nominal_at.ToMicroseconds(),
        run_id=fire.run_id,
        reason=fire.skipped_reason,
        until=_instant(fire, "until"),
    )


def _evidence(db: str) -> Mapping[str, int]:
    """Rows of evidence by execution."""
    database = open_database(db)
    try:
        with database.main.connect() as connection:
            rows: Iterable[Any] = connection.execute(sa.select(evidence.c.execution_id))
            return Counter(to_text(row.execution_id) for row in rows)
    finally:
        database.close()


async def _of_each(ask: Callable[[str], Awaitable[Answer]], words: Sequence[str]) -> list[Answer]:
    """The answers in the order of the words."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(word: str) -> Answer:
        async with free:
            return await ask(word)

    return await asyncio.gather(*map(one, words))
