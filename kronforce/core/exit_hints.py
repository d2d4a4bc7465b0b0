"""What an exit code or a signal usually means, in words for people."""

from __future__ import annotations

import signal

# What shells and kernels mean by them.
_EXIT_CODES = {126: "found, but not executable", 127: "command not found"}
_SIGNAL_EXIT = 128

_SIGNALS = frozenset(int(number) for number in signal.valid_signals()) & frozenset(
    int(number) for number in signal.Signals
)


def exit_sentence(exit_code: int) -> str:
    """`exit 137: killed by SIGKILL (out of memory?)`"""
    if exit_code in _EXIT_CODES:
        return f"exit {exit_code}: {_EXIT_CODES[exit_code]}"
    number = exit_code - _SIGNAL_EXIT
    if number in _SIGNALS:
        return f"exit {exit_code}: killed by {signal_name(number)}"
    return f"exit {exit_code}"


def signal_name(number: int) -> str:
    """`SIGSEGV`; of SIGKILL what it mostly comes from."""
    name = signal.Signals(number).name if number in _SIGNALS else f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name
