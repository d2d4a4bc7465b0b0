"""What the running controller says: its version, and its agents' clocks, versions and absence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from kronforce import __version__
from kronforce.clock import from_us
from kronforce.host.asking import Answer, NoAnswer
from kronforce.host.findings import Finding, Surroundings, fine, warning, wrong
from kronforce.host.running import running
from kronforce.v1 import agent_pb2

# A second or two is how long a hello may take; a minute is no longer a matter of NTP.
SKEW_MS = 2_000
SKEW_WRONG_MS = 60_000
# Agents that lost their controller try again within this.
COMING_BACK = timedelta(minutes=1)
# Of one kind of trouble; the rest is counted.
SHOWN = 5


def agents(where: Surroundings) -> Iterator[Finding]:
    """Ask the controller that runs, if one does."""
    found = running(where.config.data_dir, where.proc)
    if found is None or not found.address or where.ask is None:
        return
    try:
        answer = where.ask(found.address)
    except NoAnswer as silence:
        yield _silent(found.address, silence)
        return
    yield _server(found.address, answer.version)
    yield from _agents(answer, where.clock.now())


def _silent(address: str, silence: NoAnswer) -> Finding:
    if silence.deaf:
        return wrong(
            "server",
            f"{address} does not answer, though its process lives: {silence}",
            "its log says why; stop it (SIGTERM) and start it again, running tasks outlive that",
        )
    way_out = "an admin's key with --key or KRONFORCE_KEY; kronforce key reset-admin makes one"
    return warning("agents", f"were not asked: {silence}", way_out)


def _server(address: str, version: str) -> Finding:
    if version == __version__:
        return fine("server", f"{address} answers, version {version}")
    return warning(
        "server",
        f"{address} runs version {version}, installed is {__version__}",
        "restart the controller; running tasks outlive that",
    )


def _agents(answer: Answer, now: datetime) -> Iterator[Finding]:
    online = [each for each in answer.agents if each.state != agent_pb2.AGENT_STATE_OFFLINE]
    offline = [each for each in answer.agents if each.state == agent_pb2.AGENT_STATE_OFFLINE]
    if not answer.agents:
        yield warning(
            "agents", "there is none, so nothing runs", "kronforce agent token; docs/agents.md"
        )
        return
    if offline:
        yield _offline(offline, len(answer.agents), now)
    else:
        yield fine("agents", f"{_counted(len(online), 'agent')}, all online")
    yield from _clocks(online)
    yield from _versions(online, answer.version)


def _offline(offline: Sequence[agent_pb2.Agent], count: int, now: datetime) -> Finding:
    text = f"{len(offline)} of {count} offline: {_names(offline)}"
    way_out = "start them (kronforce agent run), or kronforce agent delete NAME"
    if len(offline) < count:
        return warning("agents", text, way_out)
    if any(_since(each) > now - COMING_BACK for each in offline):
        way_out = "wait: after a restart of the controller they come back by themselves"
        return warning("agents", f"{text}; nothing runs until one is back", way_out)
    return wrong("agents", f"{text}; nothing runs", way_out)


def _since(agent: agent_pb2.Agent) -> datetime:
    """Since when it is away; one that never came, since it was enrolled."""
    stamp = agent.disconnected_at if agent.HasField("disconnected_at") else agent.created_at
    return from_us(stamp.ToMicroseconds())


def _clocks(online: Sequence[agent_pb2.Agent]) -> Iterator[Finding]:
    odd = sorted(
        (each for each in online if abs(each.clock_skew_ms) > SKEW_MS),
        key=lambda each: -abs(each.clock_skew_ms),
    )
    for each in odd[:SHOWN]:
        judge = wrong if abs(each.clock_skew_ms) > SKEW_WRONG_MS else warning
        apart = f"{abs(each.clock_skew_ms) / 1000:,.1f} s"
        side = "ahead of" if each.clock_skew_ms > 0 else "behind"
        yield judge(
            "agents' clocks",
            f"{each.name} is {apart} {side} the controller",
            "run chrony or systemd-timesyncd on both (timedatectl set-ntp true)",
        )
    if len(odd) > SHOWN:
        yield warning(
            "agents' clocks", f"and {len(odd) - SHOWN} more", "kronforce agent list -o json"
        )
    if online and not odd:
        most = max(abs(each.clock_skew_ms) for each in online)
        yield fine("agents' clocks", f"within {most / 1000:.1f} s of the controller's")


def _versions(online: Sequence[agent_pb2.Agent], version: str) -> Iterator[Finding]:
    # An agent of somebody's own says nothing, or what it likes.
    other = [
        each
        for each in online
        if each.agent_type != agent_pb2.AGENT_TYPE_CUSTOM
        and each.facts.version not in ("", version)
    ]
    if other:
        yield warning(
            "agents' versions",
            f"not {version}, which the controller has: {_names(other)}",
            "install the controller's version there and restart them; running tasks outlive that",
        )


def _names(agents: Sequence[agent_pb2.Agent]) -> str:
    shown = [each.name for each in agents[:SHOWN]]
    more = f" and {len(agents) - SHOWN} more" if len(agents) > SHOWN else ""
    return ", ".join(shown) + more


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
