"""Works an agent's journal as fast as it can and writes down what became durable when.

    python -m tests.system.power.journal_driver FOLDER LOG OUT

FOLDER is the journal's, LOG the recorder's, OUT gets a JSON list of [moment, what, number]: a
callback came (`accept`, `result`), or an acknowledgement was staged (`acknowledged`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import journal as journals
from kronforce_agent.clock import SystemClock
from kronforce_agent.journal import Journal
from kronforce_agent.records import Accept

EXECUTIONS = 400
TOGETHER = 8
# Some rotations on the way.
ROTATE_BYTES = 24 * 1024
# All that is ever acknowledged stays answerable.
KEPT_RESULTS = 1_000


class Driver:
    """One journal, and what was told of it."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._log = log
        self._journal = Journal(folder, SystemClock())
        self.told: list[tuple[int, str, int]] = []

    async def run(self) -> None:
        self._journal.open()
        waiting = asyncio.Semaphore(TOGETHER)
        await asyncio.gather(*(self._one(number, waiting) for number in range(1, EXECUTIONS + 1)))
        await asyncio.to_thread(self._journal.close)

    async def _one(self, number: int, waiting: asyncio.Semaphore) -> None:
        key = (f"execution-{number}", number)
        async with waiting:
            self._journal.accept(
                Accept(execution_id=key[0], fence=number, at_micros=1, arm="shell", boot_id="boot")
            )
            await self._durable("accept", number)
            self._journal.start(key, 2, 1234)
            message = pb.AgentMessage(execution_id=key[0], fence=number, result=pb.Result())
            message.result.message = "x" * 200
            self._journal.result(key, message.SerializeToString())
            await self._durable("result", number)
            self._journal.acknowledged(key)
            self._tell("acknowledged", number)

    async def _durable(self, what: str, number: int) -> None:
        done = asyncio.Event()
        self._journal.commit(done.set)
        await done.wait()
        self._tell(what, number)

    def _tell(self, what: str, number: int) -> None:
        self.told.append((self._log.stat().st_size, what, number))


def main() -> None:
    folder, log, out = map(Path, sys.argv[1:])
    journals.ROTATE_BYTES, journals.KEPT_RESULTS = ROTATE_BYTES, KEPT_RESULTS
    driver = Driver(folder, log)
    asyncio.run(driver.run())
    out.write_text(json.dumps(driver.told))


if __name__ == "__main__":
    main()
