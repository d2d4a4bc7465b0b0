"""The jobs of the controller in memory (`api_server.py`); their groups stand in `groups.py`."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import grpc

from kronforce.v1 import execution_service_pb2, job_pb2, job_service_pb2
from tests.fakes.api.checks import check_agent, check_cron
from tests.fakes.api.groups import FakeGroups
from tests.fakes.api.refused import Refused
from tests.fakes.api.runs import trigger
from tests.fakes.api.state import page
from tests.fakes.api.story import STATES
from tests.fakes.api.watch import watch


class FakeJobs(FakeGroups):
    """JobService: keeps them, and lets their runs begin."""

    async def CreateJob(self, request, context):
        if request.request_id in self._shared.requests:
            return self._shared.jobs[self._shared.requests[request.request_id]]
        if any(job.name == request.job.name for job in self._shared.jobs.values()):
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                "NAME_TAKEN",
                f'a job "{request.job.name}" exists already',
            )
        check_cron(request.job)
        check_agent(self._shared, request.job)
        job = job_pb2.Job()
        job.CopyFrom(request.job)
        if request.validate_only:
            return job
        self._shared.keep(job, new=True)
        self._shared.requests[request.request_id] = job.id
        return job

    async def GetJob(self, request, context):
        return self._shared.find_job(request.job_id)

    async def ListJobs(self, request, context):
        found = sorted(self._shared.jobs.values(), key=lambda job: job.name)
        found = [job for job in found if request.search in job.name]
        rows, token = page(found, request)
        return job_service_pb2.ListJobsResponse(
            jobs=rows, next_page_token=token, total=len(found), total_exact=True
        )

    async def UpdateJob(self, request, context):
        old = self._shared.find_job(request.job_id)
        if request.job.etag and request.job.etag != old.etag:
            raise Refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", f'job "{old.name}" has changed')
        job = job_pb2.Job()
        job.CopyFrom(old)
        for name in request.update_mask.paths:
            job.ClearField(name)
            if request.job.DESCRIPTOR.fields_by_name[name].is_repeated:
                getattr(job, name).MergeFrom(getattr(request.job, name))
            else:
                partial = job_pb2.Job()
                partial.CopyFrom(request.job)
                for each in partial.DESCRIPTOR.fields:
                    if each.name != name:
                        partial.ClearField(each.name)
                job.MergeFrom(partial)
        check_cron(job)
        check_agent(self._shared, job)
        if request.validate_only:
            return job
        self._shared.keep(job, new=False)
        return job

    async def DeleteJob(self, request, context):
        del self._shared.jobs[self._shared.find_job(request.job_id).id]
        return job_service_pb2.DeleteJobResponse()

    async def PauseJob(self, request, context):
        job = self._shared.find_job(request.job_id)
        job.status = job_pb2.JobStatus.JOB_STATUS_PAUSED
        if request.HasField("until"):
            job.paused_until.CopyFrom(request.until)
        return job

    async def ResumeJob(self, request, context):
        job = self._shared.find_job(request.job_id)
        job.status = job_pb2.JobStatus.JOB_STATUS_UNSCHEDULED
        job.ClearField("paused_until")
        return job

    async def PreviewSchedule(self, request, context):
        self._shared.asked.append(request)
        zone = request.job.timezone if request.HasField("job") else ""
        if request.job_id:
            zone = self._shared.find_job(request.job_id).timezone
        return job_service_pb2.PreviewScheduleResponse(
            fires=self._shared.previews[: request.count], timezone=zone or "UTC", note="as told"
        )

    async def ListFires(self, request, context):
        self._shared.asked.append(request)
        self._shared.find_job(request.job_id)
        rows, token = page(self._shared.fires, request)
        return job_service_pb2.ListFiresResponse(fires=rows, next_page_token=token)

    async def TriggerJob(self, request, context):
        run, replayed = trigger(self._shared, request)
        return job_service_pb2.TriggerJobResponse(
            run=run, execution_ids=[run.executions[0].id], replayed=replayed
        )

    async def TriggerJobs(self, request, context):
        reply = job_service_pb2.TriggerJobsResponse()
        for item in request.requests:
            try:
                run, replayed = trigger(self._shared, item)
                reply.results.add(run_id=run.id, replayed=replayed)
            except Refused as error:
                reply.results.add(error=error.status())
        return reply

    async def RerunRun(self, request, context):
        old = self._shared.find_run(request.run_id)
        if request.failed_targets_only and old.state == STATES.EXECUTION_STATE_SUCCEEDED:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION, "NOTHING_TO_RERUN", "no target has failed"
            )
        again = job_service_pb2.TriggerJobRequest(job_id=old.job_id, request_id=request.request_id)
        again.params.CopyFrom(request.params if request.HasField("params") else old.params)
        run, replayed = trigger(self._shared, again)
        run.rerun_of = old.id
        return job_service_pb2.TriggerJobResponse(run=run, replayed=replayed)

    async def ClearHistory(self, request, context):
        job = self._shared.find_job(request.job_id)
        ended = [run.id for run in self._shared.runs.values()
                 if run.job_id == job.id and run.HasField("finished_at")]  # fmt: skip
        for run_id in ended[:-1][:2]:
            del self._shared.runs[run_id]
        gone, left = min(2, len(ended) - 1), len(ended) - 3
        return job_service_pb2.ClearHistoryResponse(deleted_runs=max(0, gone), more=left > 0)

    async def RunJob(self, request, context):
        run, _ = trigger(self._shared, request.trigger)
        wanted = execution_service_pb2.WatchRunsRequest(
            run_ids=[run.id], include_output=request.include_output
        )
        async for frame in watch(self._shared, wanted):
            yield frame
