"""`agent list`, `get`, `set`, `drain`, `delete`, `token`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.missing import naming_similar, warn_unknown_groups
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, facts, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, relative
from kronforce.v1.agent_pb2 import Agent, AgentState, AgentType
from kronforce_client.discovery import is_loopback

Switch = Annotated[bool, Parameter(negative=())]
Many = Annotated[list[str] | None, Parameter(negative=())]


def list_agents(*, limit: int = 100) -> None:
    """All agents, by name.

    Parameters
    ----------
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.agents.page(page_size=limit)
    show_list(session, page.agents, _columns(session), name=_name, reply=page)
    if not page.agents:
        session.say("no agents    kronforce agent token makes one join")


def get(name: str, /) -> None:
    """One agent: whether it is there, what it can run, what it says of its host.

    Parameters
    ----------
    name
        The agent's name or id.
    """
    session = current()
    with session.client() as client, naming_similar(client, agent=name):
        agent = client.agents.get(name)
    if is_data(session):
        show_row(session, agent, name=_name)
        return
    facts(session, _facts(session, agent))


def set_agent(
    name: str,
    /,
    *,
    group: Many = None,
    tag: Many = None,
    label: Many = None,
    all_groups: Switch = False,
    no_tags: Switch = False,
    no_labels: Switch = False,
) -> None:
    """Say anew what an agent is for; what is not named stays.

    Parameters
    ----------
    name
        The agent's name or id.
    group
        Run only jobs of this group; may be repeated.
    tag
        A word that targets may name; may be repeated.
    label
        A pair for selectors, KEY=VALUE; may be repeated.
    all_groups
        Run jobs of every group again.
    no_tags
        Take all tags away.
    no_labels
        Take all labels away.
    """
    for given, none, flag in (
        (group, all_groups, "--group and --all-groups"),
        (tag, no_tags, "--tag and --no-tags"),
        (label, no_labels, "--label and --no-labels"),
    ):
        if given and none:
            raise UsageError(f"{flag} contradict each other")
    if not (group or tag or label or all_groups or no_tags or no_labels):
        raise UsageError("nothing to set", f"kronforce agent set {name} --group web --tag gpu")
    session = current()
    with session.client() as client, naming_similar(client, agent=name):
        agent = client.agents.set(
            name,
            allowed_groups=[] if all_groups else group,
            tags=[] if no_tags else tag,
            labels={} if no_labels else (_labels(label) if label else None),
        )
        warn_unknown_groups(session, client, group or [])
    if is_data(session):
        show_row(session, agent, name=_name)
        return
    facts(session, _placement(agent))


def drain(name: str, /, *, off: Switch = False) -> None:
    """Give an agent no new work; what it runs, runs on.

    Parameters
    ----------
    name
        The agent's name or id.
    off
        Give it work again.
    """
    session = current()
    with session.client() as client, naming_similar(client, agent=name):
        agent = client.agents.drain(name, draining=not off)
    if is_data(session):
        show_row(session, agent, name=_name)
        return
    held = f", {agent.running} still running" if agent.running and not off else ""
    print(f"{agent.name}: {state(agent)}{held}")


def delete(name: str, /, *, yes: Switch = False) -> None:
    """Remove an agent: its credential and session end at once.

    Parameters
    ----------
    name
        The agent's name or id.
    yes
        Do not ask.
    """
    session = current()
    with session.client() as client, naming_similar(client, agent=name):
        agent = client.agents.get(name)
        if not yes:
            session.ask(f'Delete agent "{agent.name}"?', "--yes")
        client.agents.delete(agent.id)
    print(f"{agent.name} deleted")


def token(
    *,
    uses: int = 1,
    ttl_secs: int = 3600,
    tag: Many = None,
    label: Many = None,
    group: Many = None,
) -> None:
    """A token with which agents join, shown once, and what to paste on the new host.

    Parameters
    ----------
    uses
        Agents that may join with it.
    ttl_secs
        How long it is good for, seconds.
    tag
        A tag that every such agent gets; may be repeated.
    label
        A label that every such agent gets, KEY=VALUE; may be repeated.
    group
        Every such agent runs only jobs of this group; may be repeated.
    """
    session = current()
    with session.client() as client:
        made = client.agents.create_join_token(
            uses=uses,
            ttl_secs=ttl_secs,
            tags=tag or [],
            labels=_labels(label or []),
            allowed_groups=group or [],
        )
        address = client.connection.address
    if is_data(session):
        show_row(session, made, name=lambda reply: str(reply.token))
        return
    print(made.token)
    session.say(f"good until {absolute(made.expires_at, utc=session.settings.utc)}")
    session.say(
        "on the new host, with the token in a file that only its user can read:\n"
        f"  kronforce agent run --address {address} --token-file token --name NAME"
    )
    if is_loopback(address):
        session.say("from another host --address names this one, as its certificate does")


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f'"{pair}" is not a label', "--label zone=eu")
        labels[key] = value
    return labels


def state(agent: Agent) -> str:
    """`online`, `offline`, `draining`."""
    return AgentState.Name(agent.state).removeprefix("AGENT_STATE_").lower()


def _columns(session: Session) -> list[Column]:
    now, utc = session.clock.now(), session.settings.utc

    def seen(agent: Agent) -> str:
        return relative(agent.last_seen_at, now) if agent.HasField("last_seen_at") else "never"

    def seen_plain(agent: Agent) -> str:
        return absolute(agent.last_seen_at, utc=utc) if agent.HasField("last_seen_at") else ""

    return [
        Column(title="NAME", text=_name, gives=Gives.NAME),
        Column(title="STATE", text=state),
        Column(title="BUSY", text=_busy),
        Column(title="TAGS", text=lambda agent: ",".join(agent.tags), gives=Gives.TEXT),
        Column(title="SEEN", text=seen, plain=seen_plain),
        Column(title="TYPES", text=lambda agent: ",".join(agent.task_types), gives=Gives.TEXT),
        Column(title="GROUPS", text=lambda agent: ",".join(agent.allowed_groups), wide=True),
        Column(title="KIND", text=lambda a: "custom" if _is_custom(a) else "standard", wide=True),
        Column(title="HOST", text=lambda agent: str(agent.facts.hostname), wide=True),
        Column(title="VERSION", text=lambda agent: str(agent.facts.version), wide=True),
        Column(title="ID", text=lambda agent: str(agent.id), wide=True),
    ]


def _facts(session: Session, agent: Agent) -> list[tuple[str, str]]:
    utc, now = session.settings.utc, session.clock.now()
    host = agent.facts
    seen = ""
    if agent.HasField("last_seen_at"):
        moment = absolute(agent.last_seen_at, utc=utc)
        seen = f"{relative(agent.last_seen_at, now)}, {moment}"
    return [
        ("name", agent.name),
        ("id", agent.id),
        ("state", state(agent)),
        ("kind", "custom: it polls for work" if _is_custom(agent) else ""),
        ("slots", _slots(agent)),
        *_placement(agent)[1:],
        ("task types", ", ".join(agent.task_types)),
        ("host", " ".join(each for each in (host.hostname, host.os, host.arch) if each)),
        ("version", host.version),
        ("seen", seen),
        ("clock", f"{agent.clock_skew_ms} ms off" if abs(agent.clock_skew_ms) > 1000 else ""),
        ("built in", "yes" if agent.built_in else ""),
    ]


def _is_custom(agent: Agent) -> bool:
    return agent.agent_type == AgentType.AGENT_TYPE_CUSTOM


def _busy(agent: Agent) -> str:
    # A custom agent may not say how much it takes.
    return f"{agent.running}/{agent.slots}" if agent.slots else str(agent.running)


def _slots(agent: Agent) -> str:
    if agent.slots:
        return f"{agent.running} of {agent.slots} busy"
    return f"{agent.running} busy, as many as it asks for"


def _placement(agent: Agent) -> list[tuple[str, str]]:
    """What an admin says of it."""
    return [
        ("name", agent.name),
        ("tags", ", ".join(agent.tags)),
        ("labels", ", ".join(f"{key}={agent.labels[key]}" for key in sorted(agent.labels))),
        ("groups", ", ".join(agent.allowed_groups) or "all"),
    ]


def _name(agent: Agent) -> str:
    return str(agent.name)
