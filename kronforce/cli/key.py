"""`key create`, `list`, `revoke`, `reset-admin`, `whoami`."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from cyclopts import Parameter

from kronforce.cli.host_flags import HostFlags, told
from kronforce.cli.missing import warn_unknown_groups
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, facts, is_data, show_list, show_plain, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, as_datetime, relative
from kronforce.v1.api_key_pb2 import ApiKey, Role
from kronforce.v1.options_pb2 import SURFACE_UNSPECIFIED, Surface

Switch = Annotated[bool, Parameter(negative=())]
Many = Annotated[list[str] | None, Parameter(negative=())]


def create(
    name: str,
    /,
    *,
    role: Literal["viewer", "operator", "admin", "agent"] | None = None,
    group: Many = None,
    network: Many = None,
    expires_in_days: float | None = None,
    surface: Literal["mcp"] | None = None,
) -> None:
    """Make a key. Its secret is shown now and never again.

    Parameters
    ----------
    name
        A label for people; unique.
    role
        What it may do. Needed, but with --surface: a viewer then.
    group
        Only the jobs of this group; may be repeated.
    network
        Only from this network, such as 10.0.0.0/8; may be repeated.
    expires_in_days
        When it stops working. Default: never.
    surface
        For AI clients alone (mcp); viewer or operator. Default: every way in.
    """
    session = current()
    if role is None and surface is None:
        raise UsageError("a key needs --role", "viewer, operator, admin or agent")
    expires = _in_days(session, expires_in_days)
    with session.client() as client:
        made = client.keys.create(
            name,
            Role.Value(f"ROLE_{(role or 'unspecified').upper()}"),
            allowed_groups=group or [],
            allowed_networks=network or [],
            expires_at=expires,
            surface=Surface.Value(f"SURFACE_{(surface or 'unspecified').upper()}"),
        )
        warn_unknown_groups(session, client, made.key.allowed_groups)
    if is_data(session):
        show_row(session, made, name=lambda reply: str(reply.secret))
        return
    print(made.secret)
    session.say(f"key {made.key.name}, {_what(made.key)}; it is not shown again")


def list_keys(*, limit: int = 100) -> None:
    """All keys, newest first; never a secret.

    Parameters
    ----------
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.keys.page(page_size=limit)
    show_list(session, page.keys, _columns(session), name=lambda key: str(key.name), reply=page)


def revoke(name: str, /, *, yes: Switch = False) -> None:
    """End a key for good: its calls are refused and its streams end at once.

    Parameters
    ----------
    name
        The key's name or id.
    yes
        Do not ask.
    """
    session = current()
    if not yes:
        session.ask(f'Revoke key "{name}" for good?', "--yes")
    with session.client() as client:
        key = client.keys.revoke(name)
    if is_data(session):
        show_row(session, key, name=lambda row: str(row.name))
        return
    print(f"{key.name} revoked")


def reset_admin(flags: HostFlags | None = None, *, revoke_others: Switch = False) -> None:
    """Make a new admin key at the data folder: for whoever lost the last one.

    Asks no server; a controller that runs takes the new key within a second.

    Parameters
    ----------
    flags
        Which controller's files.
    revoke_others
        End every other admin key for good.
    """
    from kronforce.host import admin_key

    session = current()
    with told():
        config = (flags or HostFlags()).load()
        made = admin_key.reset(config, session.clock, revoke_others=revoke_others)
    plain = {"name": made.name, "path": str(made.path), "revoked": list(made.revoked)}
    show_plain(session, plain, name=made.name, text=str(made.path))
    session.say(f"key {made.name}, admin; it replaces what was in that file")
    if made.revoked:
        session.say(f"revoked: {', '.join(made.revoked)}")
    elif not revoke_others:
        session.say("other admin keys still work: kronforce key list, or --revoke-others")


def whoami() -> None:
    """Whose key this is, and what it may do."""
    session = current()
    with session.client() as client:
        reply = client.keys.whoami()
    if is_data(session):
        show_row(session, reply, name=lambda row: str(row.key.name))
        return
    key = reply.key
    facts(
        session,
        [
            ("server", client.connection.address),
            ("from", client.connection.source),
            ("key", f"{key.name} ({key.prefix}…)" if key.prefix else key.name),
            ("role", _what(key)),
            ("groups", ", ".join(key.allowed_groups)),
            ("expires", _instant(session, key, "expires_at")),
            ("may", ", ".join(reply.permissions)),
        ],
    )


def role_word(key: ApiKey) -> str:
    """`viewer`, `operator`, `admin`, `agent`."""
    return Role.Name(key.role).removeprefix("ROLE_").lower()


def _what(key: ApiKey) -> str:
    """Its role, and the way in where there is only one."""
    if key.surface == SURFACE_UNSPECIFIED:
        return role_word(key)
    return f"{role_word(key)}, {Surface.Name(key.surface).removeprefix('SURFACE_')} alone"


def _in_days(session: Session, days: float | None) -> datetime | None:
    if days is None:
        return None
    try:
        return session.clock.now() + timedelta(days=days)
    except (OverflowError, ValueError):
        raise UsageError(
            f"--expires-in-days {days} is no time from now", "such as 90, or 0.5 for half a day"
        ) from None


def _instant(session: Session, key: ApiKey, name: str) -> str:
    if not key.HasField(name):  # type: ignore[arg-type]  # one of its instants
        return ""
    return absolute(getattr(key, name), utc=session.settings.utc)


def _columns(session: Session) -> list[Column]:
    now = session.clock.now()

    def used(key: ApiKey) -> str:
        return relative(key.last_used_at, now) if key.HasField("last_used_at") else "never"

    def expires(key: ApiKey) -> str:
        return relative(key.expires_at, now) if key.HasField("expires_at") else "never"

    def standing(key: ApiKey) -> str:
        if key.HasField("revoked_at"):
            return "revoked"
        over = key.HasField("expires_at") and as_datetime(key.expires_at) <= now
        return "expired" if over else "valid"

    return [
        Column(title="NAME", text=lambda key: str(key.name), gives=Gives.NAME),
        Column(title="ROLE", text=_what),
        Column(title="PREFIX", text=lambda key: str(key.prefix)),
        Column(title="GROUPS", text=lambda key: ",".join(key.allowed_groups), gives=Gives.TEXT),
        Column(title="USED", text=used, plain=lambda key: _instant(session, key, "last_used_at")),
        Column(title="STANDING", text=standing),
        Column(
            title="EXPIRES",
            text=expires,
            plain=lambda key: _instant(session, key, "expires_at"),
        ),
        Column(title="ID", text=lambda key: str(key.id), wide=True),
    ]
