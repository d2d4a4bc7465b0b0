"""Follow every run of a group for a while; survives a restart of the controller."""

import asyncio
import sys

from kronforce.v1.execution_pb2 import ExecutionState
from kronforce_client import AsyncClient, Interruption


def tell(interruption: Interruption) -> None:
    print("connected again" if interruption.resumed else interruption.error, file=sys.stderr)


async def main(seconds: float) -> None:
    async with (
        AsyncClient() as kf,
        asyncio.timeout(seconds),
        kf.runs.watch(group="Default", on_interruption=tell) as updates,
    ):
        async for update in updates:
            if update.HasField("state"):
                state = ExecutionState.Name(update.state.state)
                print(update.state.job_name, update.run_id, state, flush=True)


try:
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
except TimeoutError:
    print("that was it", file=sys.stderr)
