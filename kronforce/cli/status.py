"""`status`: what an operator looks at first."""

from __future__ import annotations

from kronforce.cli.session import Session, current
from kronforce.cli.show import facts, is_data, short, show_row
from kronforce.cli.times import absolute, relative
from kronforce.v1.system_service_pb2 import GetStatusResponse


def status() -> None:
    """Agents, what waits longest, disk."""
    session = current()
    with session.client() as client:
        reply = client.system.status()
        address = client.connection.address
    if is_data(session):
        show_row(session, reply, name=lambda _: address)
        return
    facts(session, _facts(session, address, reply))
    for warning in _warnings(reply):
        session.warn(f"warning: {warning}")


def _facts(session: Session, address: str, reply: GetStatusResponse) -> list[tuple[str, str]]:
    utc, now = session.settings.utc, session.clock.now()
    since = f"up since {absolute(reply.started_at, utc=utc)}"
    return [
        ("server", f"{address}, version {reply.version}, {since}"),
        ("store", f"{reply.store}, {reply.data_location}".rstrip(", ")),
        ("jobs", str(reply.jobs)),
        ("agents", f"{reply.agents_online} of {reply.agents} online"),
        ("slots", f"{reply.slots_busy} of {reply.slots} busy"),
        ("executions", f"{reply.running} running, {reply.pending} waiting"),
        ("oldest waiting", _oldest(reply, relative(reply.oldest_waiting.since, now))),
        ("disk", _disk(reply)),
    ]


def _oldest(reply: GetStatusResponse, since: str) -> str:
    if not reply.HasField("oldest_waiting"):
        # What waits for its retry, or is on its way to an agent, is counted and not the oldest.
        return "only retries" if reply.pending else "nothing waits"
    waiting = reply.oldest_waiting
    why = f" ({waiting.state_reason.replace('_', ' ')})" if waiting.state_reason else ""
    return f"{waiting.job_name}, {since}{why}    kronforce run explain {short(waiting.run_id)}"


def _disk(reply: GetStatusResponse) -> str:
    parts = [f"{size(reply.disk_free_bytes)} free"]
    if reply.store_bytes:
        parts.append(f"store {size(reply.store_bytes)}")
    if reply.output_bytes:
        parts.append(f"output {size(reply.output_bytes)}")
    return ", ".join(parts)


def _warnings(reply: GetStatusResponse) -> list[str]:
    warnings = []
    if reply.disk_free_bytes and reply.disk_free_bytes < 2 * reply.disk_reserve_bytes:
        reserve = size(reply.disk_reserve_bytes)
        warnings.append(f"disk is short: below {reserve} free, triggers are refused")
    if reply.agents and not reply.agents_online:
        warnings.append("no agent is online: nothing runs    kronforce agent list")
    return warnings


def size(count: float) -> str:
    """`12.3 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
