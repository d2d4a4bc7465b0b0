# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""StatsService: sums of buckets, read and rendered; nothing here counts runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from kronforce.api import references
from kronforce.api.call import Call
from kronforce.api.convert.instants import instant_us, stamp, stamp_or_none
from kronforce.api.convert.stats import p95_secs, secs, tally_message
from kronforce.api.convert.system import oldest_message
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.core.schedules.window import JobStatus
from kronforce.core.stat_windows import (
    Window,
    all_days,
    days_until,
    list_window,
    timeline_window,
)
from kronforce.engine.folding import Folding
from kronforce.engine.metrics.job_tally import JobTally
from kronforce.errors import InvalidArgument
from kronforce.store import stats as stored
from kronforce.store import status
from kronforce.store.database import Tx
from kronforce.store.paging import COUNT_LIMIT, Page
from kronforce.store.stats import StatFilter, Sums
from kronforce.store.store import Store
from kronforce.v1 import stats_service_pb2 as pb
from kronforce.v1 import stats_service_pb2_grpc

WEEK_DAYS = 7

# The sort keys of the lists: the number, then whose it is.
_BY_KEY: Shape = (int, int)
_BY_NAME: Shape = (int, str)

Spanned = pb.ListJobStatsRequest | pb.ListAgentLoadRequest | pb.ListGroupLoadRequest


class StatsServicer(stats_service_pb2_grpc.StatsServiceServicer):
    """Thin: what was added is folded in, then the store reads."""

    def __init__(
        self, *, store: Store, clock: Clock, folding: Folding, tally: JobTally,
        begin_tally: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._folding = folding
        self._tally = tally
        self._begin_tally = begin_tally

    async def GetSystemStats(
        self, request: pb.GetSystemStatsRequest, call: Call
    ) -> pb.GetSystemStatsResponse:
        self._begin_tally()
        await self._folding.catch_up()
        await self._tally.until_loaded()
        now = self._clock.now_us()
        jobs, days, first_day = await self._store.read(_overview, call.scope, all_days(now))
        reply = pb.GetSystemStatsResponse(
            jobs=min(len(jobs), COUNT_LIMIT),
            jobs_exact=len(jobs) <= COUNT_LIMIT,
            today=tally_message(_since(days, days_until(now, 1).since)),
            last_7_days=tally_message(_since(days, days_until(now, WEEK_DAYS).since)),
            all_kept=tally_message(_since(days, 0)),
            kept_since=stamp_or_none(first_day),
        )
        self._put_jobs(reply, jobs[:COUNT_LIMIT])
        _put_present(reply, await self._store.read(status.status, call.scope))
        return reply

    def _put_jobs(self, reply: pb.GetSystemStatsResponse, jobs: list[tuple[int, int]]) -> None:
        known = [kinds for key, _ in jobs if (kinds := self._tally.kinds_of(key)) is not None]
        reply.jobs_by_status.update(Counter(JobStatus(number).name.lower() for _, number in jobs))
        reply.jobs_by_task_type.update(Counter(task for task, _ in known if task))
        reply.jobs_by_schedule_type.update(Counter(schedule for _, schedule in known))

    async def GetTimeline(
        self, request: pb.GetTimelineRequest, call: Call
    ) -> pb.GetTimelineResponse:
        if request.bucket not in pb.StatsBucket.values():
            raise InvalidArgument.of(("bucket", "use minute, hour or day"))
        window = timeline_window(request.bucket, *_span(request), self._clock.now_us())
        await self._folding.catch_up()
        found = await self._store.read(_timeline, call.scope, request, window)
        return pb.GetTimelineResponse(
            since=stamp(window.since),
            until=stamp(window.until),
            bucket=window.level,  # type: ignore[arg-type]  # the number
            buckets=[
                pb.TimelineBucket(start=stamp(at), tally=tally_message(found.get(at, Sums())))
                for at in window.starts
            ],
            sum=tally_message(_together(found.values())),
        )

    async def ListJobStats(
        self, request: pb.ListJobStatsRequest, call: Call
    ) -> pb.ListJobStatsResponse:
        order = request.order or pb.JOB_STATS_ORDER_RUNS
        if order not in stored.ORDERS:
            raise InvalidArgument.of(("order", "use runs, failures, mean, max or busy"))
        page, window = read_page(request, _BY_KEY), await self._window(request)

        def read(tx: Tx) -> Page[stored.JobNumbers]:
            filters = _filters(tx, call.scope, request.job_id, request.group)
            return stored.list_jobs(tx, call.scope, window, order=order, page=page, filters=filters)

        found = await self._store.read(read)
        return pb.ListJobStatsResponse(
            jobs=[_job(row) for row in found.items],
            next_page_token=next_token(request, found),
            total=found.total,
            total_exact=found.total_exact,
            since=stamp(window.since),
            until=stamp(window.until),
        )

    async def ListAgentLoad(
        self, request: pb.ListAgentLoadRequest, call: Call
    ) -> pb.ListAgentLoadResponse:
        page, window = read_page(request, _BY_KEY), await self._window(request)
        found = await self._store.read(stored.list_agents, call.scope, window, page)
        until = min(window.until, self._clock.now_us())
        return pb.ListAgentLoadResponse(
            agents=[_agent(row, until - window.since) for row in found.items],
            next_page_token=next_token(request, found),
            total=found.total,
            total_exact=found.total_exact,
            since=stamp(window.since),
            until=stamp(until),
        )

    async def ListGroupLoad(
        self, request: pb.ListGroupLoadRequest, call: Call
    ) -> pb.ListGroupLoadResponse:
        page, window = read_page(request, _BY_NAME), await self._window(request)
        found = await self._store.read(stored.list_groups, call.scope, window, page)
        until = min(window.until, self._clock.now_us())
        return pb.ListGroupLoadResponse(
            groups=[_group(row, until - window.since) for row in found.items],
            next_page_token=next_token(request, found),
            total=found.total,
            total_exact=found.total_exact,
            since=stamp(window.since),
            until=stamp(until),
        )

    async def _window(self, request: Spanned) -> Window:
        """The span that a list asks for, with everything in it that is stored."""
        window = list_window(*_span(request), self._clock.now_us())
        await self._folding.catch_up()
        return window


def _span(request: Spanned | pb.GetTimelineRequest) -> tuple[int | None, int | None]:
    since = instant_us(request.since) if request.HasField("since") else None
    return since, instant_us(request.until) if request.HasField("until") else None


def _overview(
    tx: Tx, scope: Scope, window: Window
) -> tuple[list[tuple[int, int]], dict[int, Sums], int | None]:
    return (
        stored.jobs_in_scope(tx, scope),
        stored.timeline(tx, scope, window),
        stored.first_day(tx),
    )


def _timeline(
    tx: Tx, scope: Scope, request: pb.GetTimelineRequest, window: Window
) -> dict[int, Sums]:
    filters = _filters(tx, scope, request.job_id, request.group)
    return stored.timeline(tx, scope, window, filters)


def _filters(tx: Tx, scope: Scope, job_id: str, group: str) -> StatFilter:
    return StatFilter(
        job_key=references.job(tx, scope, job_id).key if job_id else None, group=group or None
    )


def _since(days: dict[int, Sums], since: int) -> Sums:
    return _together(sums for at, sums in days.items() if at >= since)


def _together(several: Iterable[Sums]) -> Sums:
    whole = Sums()
    for sums in several:
        whole.merge(sums)
    return whole


def _put_present(reply: pb.GetSystemStatsResponse, now: status.Status) -> None:
    reply.agents, reply.agents_online = now.agents, now.agents_online
    reply.slots, reply.slots_busy = now.slots, now.slots_busy
    reply.pending, reply.running = now.pending, now.running
    if now.oldest_waiting is not None:
        reply.oldest_waiting.CopyFrom(oldest_message(now.oldest_waiting))


def _job(row: stored.JobNumbers) -> pb.JobStats:
    return pb.JobStats(
        job_id=ids.to_text(row.id),
        job_name=row.name,
        deleted=row.deleted,
        tally=tally_message(row.sums),
        p95_secs=p95_secs(row.sizes),
    )


def _agent(row: stored.AgentNumbers, span_us: int) -> pb.AgentLoad:
    return pb.AgentLoad(
        agent_id=ids.to_text(row.id),
        agent_name=row.name,
        deleted=row.deleted,
        slots=row.slots,
        tally=tally_message(row.sums, by_runs=False),
        mean_busy_slots=_mean_busy(row.sums, span_us),
    )


def _group(row: stored.GroupNumbers, span_us: int) -> pb.GroupLoad:
    return pb.GroupLoad(
        group=row.name,
        tally=tally_message(row.sums),
        mean_busy_slots=_mean_busy(row.sums, span_us),
    )


def _mean_busy(sums: Sums, span_us: int) -> float:
    return secs(sums.busy_us) / secs(span_us) if span_us > 0 else 0.0
