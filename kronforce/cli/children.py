"""The processes that `kronforce up` holds: started apart from its terminal, ended in order.

Each child leads a session of its own, so that Ctrl-C reaches `up` alone and
tasks, agent and controller end one after the other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from kronforce.cli.parent import UP_PID


class Child:
    """One process; `ended` is a task that gives its exit code."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        # A thread of its own: neither loop's subprocess support is wanted here (stack: uvloop's
        # is slow, and grpc is loaded in this process).
        self.ended: asyncio.Task[int] = asyncio.create_task(asyncio.to_thread(process.wait))

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def stop(self, limit_secs: float) -> bool:
        """SIGTERM, and SIGKILL after the limit; whether it went by itself."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=limit_secs)
        if not done:
            self._process.kill()
            await self.ended
        return bool(done)


def start(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Child:
    """`python -m kronforce ARGUMENTS`, with our streams and its own session."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kronforce", *arguments],
        stdin=subprocess.DEVNULL,
        env={**environ, UP_PID: str(os.getpid())},
        start_new_session=True,
    )
    return Child(name, process)
