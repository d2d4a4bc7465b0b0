"""Statistics: how much ran, how it ended, how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from kronforce.v1 import stats_service_pb2 as pb
from kronforce.v1.stats_service_pb2 import JobStats
from kronforce.v1.stats_service_pb2_grpc import StatsServiceStub
from kronforce_client.calls import Caller
from kronforce_client.instants import timestamp
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.stats_service_pb2_grpc import StatsServiceAsyncStub

Bucket = Literal["minute", "hour", "day"]
Order = Literal["runs", "failures", "mean", "max", "busy"]

_BUCKETS: dict[Bucket | None, pb.StatsBucket.ValueType] = {
    None: pb.STATS_BUCKET_UNSPECIFIED,
    "minute": pb.STATS_BUCKET_MINUTE,
    "hour": pb.STATS_BUCKET_HOUR,
    "day": pb.STATS_BUCKET_DAY,
}
_ORDERS: dict[Order, pb.JobStatsOrder.ValueType] = {
    "runs": pb.JOB_STATS_ORDER_RUNS,
    "failures": pb.JOB_STATS_ORDER_FAILURES,
    "mean": pb.JOB_STATS_ORDER_MEAN,
    "max": pb.JOB_STATS_ORDER_MAX,
    "busy": pb.JOB_STATS_ORDER_BUSY,
}


class Stats:
    """`kf.stats`. A span is from `since` (7 days ago) to `until` (now), in whole buckets, UTC."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: StatsServiceAsyncStub = StatsServiceStub(caller.channel)

    async def system(self, *, timeout_secs: float | None = None) -> pb.GetSystemStatsResponse:
        """The system at a glance."""
        request = pb.GetSystemStatsRequest()
        return await self._caller.unary(
            self._stub.GetSystemStats, request, timeout_secs=timeout_secs
        )

    async def timeline(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        bucket: Bucket | None = None,
        job: str = "",
        group: str = "",
        timeout_secs: float | None = None,
    ) -> pb.GetTimelineResponse:
        """What ended when; without `bucket` the controller chooses how long each is."""
        request = pb.GetTimelineRequest(
            since=timestamp(since),
            until=timestamp(until),
            bucket=_BUCKETS[bucket],
            job_id=job,
            group=group,
        )
        return await self._caller.unary(self._stub.GetTimeline, request, timeout_secs=timeout_secs)

    async def jobs_page(
        self,
        *,
        order: Order = "runs",
        since: datetime | None = None,
        until: datetime | None = None,
        job: str = "",
        group: str = "",
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListJobStatsResponse:
        """One page of jobs, those with most of `order` first.

        The contract (StatsService.ListJobStats): Lists jobs by what they did in a span of time: the
        slowest, those that fail most, those that run most. Jobs of which the order's number is 0
        are left out.
        """
        request = pb.ListJobStatsRequest(
            page_size=page_size,
            page_token=page_token,
            since=timestamp(since),
            until=timestamp(until),
            order=_ORDERS[order],
            group=group,
            job_id=job,
        )
        return await self._caller.unary(self._stub.ListJobStats, request, timeout_secs=timeout_secs)

    def jobs(
        self,
        *,
        order: Order = "runs",
        since: datetime | None = None,
        until: datetime | None = None,
        job: str = "",
        group: str = "",
    ) -> Stream[JobStats]:
        """Every job that did something, those with most of `order` first, page by page."""

        async def fetch(token: str) -> tuple[Sequence[JobStats], str]:
            page = await self.jobs_page(
                order=order, since=since, until=until, job=job, group=group, page_token=token
            )
            return page.jobs, page.next_page_token

        return Stream(pages(fetch))

    async def agents(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListAgentLoadResponse:
        """One page of agents, the busiest first."""
        request = pb.ListAgentLoadRequest(
            page_size=page_size,
            page_token=page_token,
            since=timestamp(since),
            until=timestamp(until),
        )
        return await self._caller.unary(
            self._stub.ListAgentLoad, request, timeout_secs=timeout_secs
        )

    async def groups(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
        page_token: str = "",
        timeout_secs: float | None = None,
    ) -> pb.ListGroupLoadResponse:
        """One page of groups, the busiest first."""
        request = pb.ListGroupLoadRequest(
            page_size=page_size,
            page_token=page_token,
            since=timestamp(since),
            until=timestamp(until),
        )
        return await self._caller.unary(
            self._stub.ListGroupLoad, request, timeout_secs=timeout_secs
        )
