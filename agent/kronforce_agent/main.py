"""The agent's entry point: `python -m kronforce_agent`, and what `kronforce agent` calls."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# Before grpc is imported, by whichever module comes first: its fork handlers and threads break
# children that fork; processes are the launcher's business anyway.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

log = logging.getLogger("kronforce_agent")

EXIT_ERROR = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT. Returns the exit code."""
    if not sys.platform.startswith("linux"):
        sys.stderr.write(
            "error: the Kronforce agent runs on Linux only (it needs pidfds and flock)\n"
            "  run it in a Linux container or VM, or write an agent of your own against "
            "AgentService: see examples/agents\n"
        )
        return EXIT_ERROR
    from kronforce_agent import config, logs  # noqa: PLC0415 - Linux only, and after the setting

    try:
        settings = config.parse(sys.argv[1:] if argv is None else argv, os.environ)
    except config.ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    logs.set_up(settings.log_level)
    return _run(settings)


def _run(settings: object) -> int:
    from kronforce_agent.agent import AlreadyRunningError  # noqa: PLC0415 - as above
    from kronforce_agent.config import AgentConfig, ConfigError  # noqa: PLC0415 - as above
    from kronforce_agent.enrolment import EnrolmentError  # noqa: PLC0415 - as above
    from kronforce_agent.launcher.client import LauncherError  # noqa: PLC0415 - as above

    assert isinstance(settings, AgentConfig)
    expected = (AlreadyRunningError, ConfigError, EnrolmentError, LauncherError, OSError)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except expected as error:
        log.error("%s", _explained(error, settings.folder), extra={"action": "failed"})
        return EXIT_ERROR
    return 0


def _explained(error: Exception, folder: Path) -> str:
    """What to do about it: a start without room fails wherever it writes first."""
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    if not full and (not folder.exists() or os.statvfs(folder).f_bavail):
        return str(error)
    return (
        f"the disk of {folder} is full, and an agent has to write a little to start: free some "
        f"space there and start it again, with the same join token ({error})"
    )


async def _serve(settings: object) -> None:
    from kronforce_agent.agent import Agent  # noqa: PLC0415 - as above
    from kronforce_agent.config import AgentConfig  # noqa: PLC0415 - as above

    assert isinstance(settings, AgentConfig)
    agent = Agent(settings, environ=os.environ)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; never its subprocess API."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new_loop
