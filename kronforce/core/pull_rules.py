"""How long a custom agent may be silent, and how long what it was given may go unreported.

Pure. Seconds. An agent that never calls Heartbeat may work for minutes in one thread without a
word, so only time tells; one that does is held to the lease that agents with streams have.
"""

from __future__ import annotations

# What is given and not reported for this long is lost, unless its own timeout is longer.
UNREPORTED_SECS = 600
# What an attempt's end may take beyond its timeout: to end it, and to report.
TIMEOUT_MARGIN_SECS = 60
# The lease of an agent that calls Heartbeat.
LEASE_SECS = 30
# An agent that has nothing and does not ask for anything: the longest poll, and a lease.
IDLE_SECS = 90
# How long work waits for a custom agent that asks for none.
UNCLAIMED_SECS = 300
# The longest that a poll may wait, and what is waited for an assignment that is being written.
WAIT_MAX_SECS = 60


def unreported_secs(timeout_secs: int) -> int:
    """After how long without a report something given is lost."""
    return max(UNREPORTED_SECS, timeout_secs + TIMEOUT_MARGIN_SECS if timeout_secs else 0)


def lost_after(*, timeout_secs: int, heartbeats: bool, restarted: bool) -> int | None:
    """The same for an attempt of an agent that is here; None: as long as it takes.

    `restarted`: its agent was registered anew since, and may know nothing of it.
    """
    if not heartbeats or restarted:
        return unreported_secs(timeout_secs)
    return timeout_secs + TIMEOUT_MARGIN_SECS if timeout_secs else None


def silent_secs(*, heartbeats: bool, longest_timeout_secs: int | None) -> int:
    """After how long of silence an agent is offline; `longest_timeout_secs` None: it has nothing.

    Of what it has, 0 is no timeout.
    """
    if heartbeats:
        return LEASE_SECS
    return IDLE_SECS if longest_timeout_secs is None else unreported_secs(longest_timeout_secs)
