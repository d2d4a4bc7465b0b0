"""From an instant that schedules name to its run, committed: what a client's watch is told.

Many jobs are due at every second. The watch is fed after the commit, so what it adds (a frame, a
socket, this process) counts against us.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kronforce.core.ids import to_text
from kronforce.v1.execution_service_pb2 import WatchRunsRequest
from tests.bench import many_jobs
from tests.bench.books import Client, Void, percentiles
from tests.bench.scale import ledger, process
from tests.bench.scale.site import Site

EVERY_SECOND = "* * * * * *"
WARM_SECS = 5.0
SECOND = 1_000_000


def measure(site: Site) -> dict[str, Any]:
    jobs = site.spec["jobs"]
    many_jobs.fill(site.folder, jobs, lambda _: EVERY_SECOND, ["UTC"])
    with process.controller(site.folder) as controller:
        controller.start()
        with process.agents(controller, 1, site.spec["slots"]) as pids:
            with site.watched({"controller": [controller.pid], "agent": pids}):
                begun = time.time() + WARM_SECS
                until = begun + site.seconds
                told = asyncio.run(_told(controller.address, controller.key, until + 1))
            fired = ledger.fired(site.folder)
    lags = []
    for nominal, run, *_ in fired:
        if begun <= nominal / SECOND < until:
            if to_text(run) not in told:
                raise Void("the watch was not told of every run")
            lags.append(told[to_text(run)] - nominal / SECOND)
    expected = jobs * (int(until) - int(begun))
    if len(lags) < expected:
        raise Void(f"{len(lags)} runs where {expected} instants were due")
    return {"n": len(lags), **percentiles(lags)}


async def _told(address: str, key: str, until: float) -> dict[str, float]:
    """When the watch first spoke of each run."""
    told: dict[str, float] = {}
    async with Client(address, key) as client:
        call = client.executions.WatchRuns(
            WatchRunsRequest(group="Default"), metadata=(("authorization", f"Bearer {key}"),)
        )
        try:
            async with asyncio.timeout(until - time.time()):
                async for frame in call:
                    now = time.time()
                    for update in frame.updates:
                        if update.HasField("gap"):
                            raise Void("the watch dropped updates")
                        told.setdefault(update.run_id, now)
        except TimeoutError:
            return told
        finally:
            call.cancel()
    raise Void("the watch ended")
