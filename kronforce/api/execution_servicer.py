# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""ExecutionService: runs and executions are read, followed and cancelled."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kronforce.api import references
from kronforce.api.call import Call
from kronforce.api.closing import closing
from kronforce.api.convert.execution import add_heads, execution_message
from kronforce.api.convert.explanation import explanation_message
from kronforce.api.convert.instants import instant_us
from kronforce.api.convert.run import add_parts, run_message
from kronforce.api.ended import Ended
from kronforce.api.output_head import read_heads
from kronforce.api.output_missing import missing_bytes, with_output
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.api.ports import Cancelling, Explaining, Watching
from kronforce.core.access import Scope
from kronforce.engine.reasons import Reasons
from kronforce.errors import InvalidArgument
from kronforce.store import executions, output, runs
from kronforce.store.database import Tx
from kronforce.store.executions import ExecutionRow, Mark
from kronforce.store.paging import Page, PageRequest
from kronforce.store.run_ends import RunEnd, ends_of
from kronforce.store.runs import RunRow, RunTargetRow
from kronforce.store.store import Store
from kronforce.v1 import execution_service_pb2 as pb
from kronforce.v1 import execution_service_pb2_grpc
from kronforce.v1.execution_pb2 import Execution, ExecutionState
from kronforce.v1.run_pb2 import Run, RunExplanation, RunUpdates

REASON_MAX = 1_000

_BY_KEY: Shape = (int,)
# What people type of an id; its hyphens may come along.
_SUFFIX = re.compile(r"[0-9A-Fa-f-]{4,36}")


class ExecutionServicer(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Thin: the engine cancels and follows, store functions read, `convert` renders."""

    def __init__(
        self, *, store: Store, watching: Watching, cancelling: Cancelling, reasons: Reasons,
        explaining: Explaining,
    ) -> None:  # fmt: skip
        self._store = store
        self._watching = watching
        self._cancelling = cancelling
        self._reasons = reasons
        self._explaining = explaining
        self._ended = Ended()

    async def GetRun(self, request: pb.GetRunRequest, call: Call) -> Run:
        return await self._run(call.scope, request.run_id)

    async def ListRuns(self, request: pb.ListRunsRequest, call: Call) -> pb.ListRunsResponse:
        _check_state(request.state)
        if request.id_suffix and not _SUFFIX.fullmatch(request.id_suffix):
            raise InvalidArgument.of(
                ("id_suffix", "is the end of an id: 4 or more hexadecimal digits")
            )
        page, counts, ends = await self._store.read(
            _runs, call.scope, request, read_page(request, _BY_KEY)
        )
        return pb.ListRunsResponse(
            runs=[
                run_message(row, counts.get(row.key, {}), ends.get(row.key)) for row in page.items
            ],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def CancelRun(self, request: pb.CancelRunRequest, call: Call) -> Run:
        _check_reason(request.reason)
        await self._store.read(references.run, call.scope, request.run_id)
        await self._cancelling.cancel_run(
            call.scope, request.run_id, call.principal, request.reason
        )
        return await self._run(call.scope, request.run_id)

    async def GetExecution(self, request: pb.GetExecutionRequest, call: Call) -> Execution:
        return await self._execution(call.scope, request.execution_id)

    async def ListExecutions(
        self, request: pb.ListExecutionsRequest, call: Call
    ) -> pb.ListExecutionsResponse:
        _check_state(request.state)
        # With a reference to look up first it asks more than once.
        referring = request.job_id or request.run_id or request.agent_id
        read = self._store.read if referring else self._store.read_once
        page = await read(_executions, call.scope, request, read_page(request, _BY_KEY))
        return pb.ListExecutionsResponse(
            executions=await self._messages(call.scope, page.items),
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def CancelExecution(self, request: pb.CancelExecutionRequest, call: Call) -> Execution:
        _check_reason(request.reason)
        await self._store.read(references.execution, call.scope, request.execution_id)
        await self._cancelling.cancel_execution(
            call.scope, request.execution_id, call.principal, request.reason
        )
        return await self._execution(call.scope, request.execution_id)

    async def WatchRuns(
        self, request: pb.WatchRunsRequest, call: Call
    ) -> AsyncGenerator[RunUpdates, None]:
        async with self._watching.watch(call.scope, call.principal, request) as frames:
            async for frame in frames:
                yield frame

    async def ReadOutput(
        self, request: pb.ReadOutputRequest, call: Call
    ) -> AsyncGenerator[pb.ReadOutputResponse, None]:
        async with closing(self._watching.read_output(call.scope, request)) as frames:
            async for frame in frames:
                yield frame

    async def ExplainRun(self, request: pb.ExplainRunRequest, call: Call) -> RunExplanation:
        await self._store.read(references.run, call.scope, request.run_id)
        return explanation_message(await self._explaining.explain(call.scope, request.run_id))

    async def _run(self, scope: Scope, run_id: str) -> Run:
        found = await self._store.read(_run, scope, run_id)
        message = run_message(found.row, found.counts, found.end)
        shown = self._shown(found.executions)
        missing = await missing_bytes(self._store, found.executions, found.inline)
        for row, execution in zip(found.executions, shown, strict=True):
            execution.missing_bytes = missing.get(row.key, 0)
        add_parts(message, found.targets, shown)
        return message

    async def _execution(self, scope: Scope, execution_id: str) -> Execution:
        row, inline = await self._store.read(_execution, scope, execution_id)
        [message] = self._shown([row])
        add_heads(message, await read_heads(self._store, row, inline))
        came = {} if inline is None else {row.key: inline}
        message.missing_bytes = (await missing_bytes(self._store, [row], came)).get(row.key, 0)
        return message

    async def _messages(self, scope: Scope, marks: Sequence[Mark]) -> list[Execution]:
        """What is kept; what is not is read, unless retention deleted it meanwhile."""
        kept = self._ended.of(marks)
        if all(kept):
            return cast("list[Execution]", kept)
        missing = {mark.key: mark for mark, found in zip(marks, kept, strict=True) if found is None}
        rows = await self._store.read_once(executions.executions_by_keys, scope, missing)
        read = dict(zip((row.key for row in rows), self._shown(rows), strict=True))
        for key, message in read.items():
            self._ended.keep(missing[key], message)
        each = (found or read.get(mark.key) for mark, found in zip(marks, kept, strict=True))
        return [found for found in each if found is not None]

    def _shown(self, rows: Sequence[ExecutionRow]) -> list[Execution]:
        return list(map(execution_message, rows, self._reasons.of_each(rows)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _RunParts:
    row: RunRow
    counts: Mapping[int, int]
    end: RunEnd | None
    targets: list[RunTargetRow]
    executions: list[ExecutionRow]
    # What came with the results, of those that wrote anything.
    inline: Mapping[int, bytes]


def _run(tx: Tx, scope: Scope, ref: str) -> _RunParts:
    row = references.run(tx, scope, ref)
    found = executions.executions_of_run(tx, scope, row.key)
    talked = with_output(found)
    return _RunParts(
        row=row,
        counts=runs.target_counts(tx, [row]).get(row.key, {}),
        end=ends_of(tx, [row]).get(row.key),
        targets=runs.run_targets(tx, row.key),
        executions=found,
        inline=output.inline_of(tx, talked) if talked else {},
    )


def _runs(
    tx: Tx, scope: Scope, request: pb.ListRunsRequest, page: PageRequest
) -> tuple[Page[RunRow], Mapping[int, dict[int, int]], Mapping[int, RunEnd]]:
    found = runs.list_runs(
        tx,
        scope,
        job_key=references.job(tx, scope, request.job_id).key if request.job_id else None,
        state=request.state or None,
        group=request.group or None,
        since=instant_us(request.since) if request.HasField("since") else None,
        id_suffix=request.id_suffix or None,
        page=page,
    )
    return found, runs.target_counts(tx, found.items), ends_of(tx, found.items)


def _executions(
    tx: Tx, scope: Scope, request: pb.ListExecutionsRequest, page: PageRequest
) -> Page[Mark]:
    return executions.list_executions(
        tx,
        scope,
        job_key=references.job(tx, scope, request.job_id).key if request.job_id else None,
        run_key=references.run(tx, scope, request.run_id).key if request.run_id else None,
        state=request.state or None,
        agent_key=references.agent(tx, scope, request.agent_id).key if request.agent_id else None,
        group=request.group or None,
        search=request.search or None,
        page=page,
    )


def _execution(tx: Tx, scope: Scope, ref: str) -> tuple[ExecutionRow, bytes | None]:
    row = references.execution(tx, scope, ref)
    return row, output.get_inline(tx, row.key)


def _check_state(state: int) -> None:
    if state not in ExecutionState.values():
        raise InvalidArgument.of(("state", f"{state} is not known; see ExecutionState"))


def _check_reason(reason: str) -> None:
    if len(reason) > REASON_MAX:
        raise InvalidArgument.of(
            ("reason", f"is {len(reason):,} characters long; at most {REASON_MAX:,}")
        )
