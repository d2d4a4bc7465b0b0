"""TriggerJob's latency while retention deletes a long history, against a control.

An open loop at a modest rate: each trigger goes out at its own time. The store was filled before
the product started (`retention_fill.py`); retention begins its first round a minute after the
start, and what was measured until then is the control. The end is when the youngest of the old
runs is gone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from kronforce.v1.execution_service_pb2 import GetRunRequest
from tests.bench.books import Client, Tell, Void, one
from tests.bench.retention_fill import run_id

SLICE_SECS = 2.0
LIMIT_SECS = 3_600.0


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    history, rate = spec["history"], spec["rate"]
    request = one(job_id)
    await _offer(client, request, rate, spec["warm_secs"])
    tell("begin")
    control = await _offer(client, request, rate, spec["seconds"])
    if not await _is_there(client, 1):
        raise Void("retention began during the control; give it fewer --seconds")
    while await _is_there(client, 1):
        await _offer(client, request, rate, SLICE_SECS)
    during: list[float] = []
    begun = time.perf_counter()
    while await _is_there(client, history):
        during += await _offer(client, request, rate, SLICE_SECS)
        if time.perf_counter() - begun > LIMIT_SECS:
            raise Void(f"retention has not deleted {history:,} executions in {LIMIT_SECS:g} s")
    took = time.perf_counter() - begun
    tell("end")
    p999, base = _p999(during), _p999(control)
    return {
        "n": min(len(control), len(during)),
        "above": p999 - base,
        "deleted_rate": history / took,
        "p999": p999,
        "control_p999": base,
        "max": max(during) * 1e3,
    }


async def _offer(client: Client, request: bytes, rate: float, seconds: float) -> list[float]:
    """Trigger at this rate for so long; how long each took."""
    took: list[float] = []

    async def trigger(at: float) -> None:
        await client.trigger(request)
        took.append(time.perf_counter() - at)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.create_task(trigger(time.perf_counter()))
    return took


async def _is_there(client: Client, number: int) -> bool:
    try:
        await client.get_run(GetRunRequest(run_id=run_id(number)))
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return True


def _p999(samples: list[float]) -> float:
    """In milliseconds, of seconds."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.999))] * 1e3
