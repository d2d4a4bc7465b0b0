"""A child of `kronforce up` ends with it, also when `up` is killed without a chance to say so."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

# Set by `up` for its children: its own process id.
UP_PID = "KRONFORCE_UP_PID"

_PR_SET_PDEATHSIG = 1


def end_with_parent(environ: Mapping[str, str]) -> None:
    """Have the kernel send us SIGTERM when `up` is gone; nothing where we are nobody's child."""
    parent = environ.get(UP_PID, "")
    if not parent.isdecimal() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have gone before we asked.
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)
