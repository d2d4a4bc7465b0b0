"""Our JSON against `google.protobuf.json_format` on one job, text to message and back, in turns.

Times are CPU of this process; each round times both, so that a slow moment slows both. The
controller that the scenario starts stands idle.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import json_format

from kronforce.v1.job_pb2 import Job
from kronforce_client.dialect import loads, parse, render
from tests.bench.books import Client, Tell, Void

# Calls between two looks at the clock.
ROUND = 200

JOB: dict[str, Any] = {
    "id": "0199c7a0-0000-7000-8000-000000000001",
    "name": "nightly-backup",
    "description": "Dumps the orders and copies them away.",
    "group": "ETL",
    "tags": ["backup", "nightly"],
    "labels": {"team": "data", "tier": "gold"},
    "task": {"shell": {"command": "pg_dump orders | gzip > /srv/backup/$(date +%F).gz",
                       "working_dir": "/srv/backup", "env": {"PGHOST": "db-1", "PGUSER": "dump"}}},
    "schedule": {"cron": "0 30 2 * * MON-FRI"},
    "target": {"tagged": {"tag": "db"}},
    "status": "JOB_STATUS_SCHEDULED",
    "next_fire_at": "2026-11-23T01:30:00Z",
    "last_run": {"run_id": "0199c7a0-0000-7000-8000-000000000002",
                 "created_at": "2026-11-20T01:30:00.000250Z",
                 "finished_at": "2026-11-20T01:31:12.918273Z"},
    "version": "7",
    "etag": "12",
    "created_at": "2026-03-01T09:00:00.123456Z",
    "updated_at": "2026-11-02T16:20:00Z",
    "timezone": "Europe/Berlin",
    "timeout_secs": 3600,
    "retry_max": 3,
    "retry_delay_secs": 60,
    "retry_backoff": 2.0,
}  # fmt: skip


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    del client, job_id
    job = json_format.ParseDict(JOB, Job())
    ours, theirs = orjson.dumps(render(job)), _canonical(job).encode()
    if parse(Job, loads(ours)) != job or json_format.Parse(theirs, Job()) != job:
        raise Void("a job does not survive its own JSON")
    encode = lambda: orjson.dumps(render(job)), lambda: _canonical(job)
    decode = lambda: parse(Job, loads(ours)), lambda: json_format.Parse(theirs, Job())
    _ratios(*encode, spec["warm_secs"] / 2)
    tell("begin")
    encodes = _ratios(*encode, spec["seconds"] / 2)
    decodes = _ratios(*decode, spec["seconds"] / 2)
    tell("end")
    return {
        "n": ROUND * (len(encodes) + len(decodes)),
        "encode": statistics.median(encodes),
        "decode": statistics.median(decodes),
    }


def _canonical(job: Job) -> str:
    return json_format.MessageToJson(
        job,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    )


def _ratios(
    ours: Callable[[], object], theirs: Callable[[], object], seconds: float
) -> list[float]:
    found, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop:
        mine = _cpu(ours)
        found.append(_cpu(theirs) / mine)
    return found


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(ROUND):
        work()
    return time.process_time() - began
