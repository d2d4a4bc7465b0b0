"""How a server's process is told to end: a first signal begins it, a second one hurries."""

from __future__ import annotations

import asyncio
import os
import signal

# Ended by hand while it was ending: the shell's number for SIGINT.
FORCED_EXIT = 130


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process as it is."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(FORCED_EXIT)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
