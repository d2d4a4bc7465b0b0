"""PreviewSchedule of ten fires, one call at a time: jobs by name at random, and one not saved."""

from __future__ import annotations

import random
import time
from typing import Any

from google.protobuf.json_format import ParseDict

from kronforce.v1.job_pb2 import Job
from kronforce.v1.job_service_pb2 import PreviewScheduleRequest
from tests.bench.books import Client, Tell, Void, percentiles

FIRES = 10
# Every such call previews a definition in place of a saved job.
UNSAVED_EVERY = 10


async def measure(client: Client, _: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    rng = random.Random(7)
    unsaved = ParseDict({**spec["job"], "name": "to-be"}, Job())
    await _run_for(client, rng, spec["jobs"], unsaved, spec["warm_secs"])
    tell("begin")
    samples = await _run_for(client, rng, spec["jobs"], unsaved, spec["seconds"])
    tell("end")
    return {"n": len(samples), **percentiles(samples)}


async def _run_for(
    client: Client, rng: random.Random, jobs: int, unsaved: Job, seconds: float
) -> list[float]:
    samples: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        request = PreviewScheduleRequest(job_id=f"job-{rng.randrange(jobs)}")
        if len(samples) % UNSAVED_EVERY == 0:
            request = PreviewScheduleRequest(job=unsaved)
        at = time.perf_counter()
        reply = await client.preview(request)
        samples.append(time.perf_counter() - at)
        if len(reply.fires) != FIRES:
            raise Void(f"a preview gave {len(reply.fires)} fires instead of {FIRES}")
    return samples
