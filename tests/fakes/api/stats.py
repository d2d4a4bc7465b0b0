# ruff: noqa: N802 - methods are named by the contract
"""Statistics as a controller would give them."""

from kronforce.v1 import stats_service_pb2 as pb
from kronforce.v1 import stats_service_pb2_grpc


class FakeStats(stats_service_pb2_grpc.StatsServiceServicer):
    """Gives what a test put in, and remembers what was asked."""

    def __init__(self) -> None:
        self.timeline = pb.GetTimelineResponse(bucket=pb.STATS_BUCKET_HOUR)
        self.jobs: list[pb.JobStats] = []
        self.asked: list[object] = []

    async def GetTimeline(self, request, context):
        self.asked.append(request)
        return self.timeline

    async def ListJobStats(self, request, context):
        self.asked.append(request)
        return pb.ListJobStatsResponse(jobs=self.jobs, total=len(self.jobs), total_exact=True)
