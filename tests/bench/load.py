"""The load generator, a process of its own: `python -m tests.bench.load SPEC` (JSON).

It speaks the bare contract over one channel and prints one JSON object per line: `begin` and `end`
around what is measured, then `result`. The key comes in KRONFORCE_KEY. Its own cost is part of
the picture (it shares the cores), so requests that repeat are encoded once.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import json
import sys
from typing import Any

import uvloop

from tests.bench import (
    chain_cost,
    codec,
    first_output,
    http_calls,
    long_poll,
    one_at_a_time,
    output,
    preview,
    retention,
    sse,
    sustained,
    values_cost,
)
from tests.bench.books import Client, Void

KINDS = {
    "chain_cost": chain_cost.measure,
    "codec": codec.measure,
    "first_output": first_output.measure,
    "http": http_calls.measure,
    "long_poll": long_poll.measure,
    "one_at_a_time": one_at_a_time.measure,
    "sustained": sustained.measure,
    "output": output.measure,
    "sse": sse.measure,
    "preview": preview.measure,
    "values_cost": values_cost.measure,
    "retention": retention.measure,
}


def tell(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


async def main(spec: dict[str, Any]) -> None:
    async with Client(spec["address"], os.environ["KRONFORCE_KEY"]) as client:
        job_id = await client.create_job(spec["job"])
        result = await KINDS[spec["kind"]](client, job_id, spec, tell)
        tell("result", **result)


def _first(error: BaseException) -> BaseException:
    """What happened, out of its groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    try:
        uvloop.run(main(json.loads(sys.argv[1])))
    except (Void, ExceptionGroup) as error:
        first = _first(error)
        raise SystemExit(str(first) if isinstance(first, Void) else repr(first)) from None
