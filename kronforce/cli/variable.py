"""`variable list`, `get`, `set`, `delete`, `rotate`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.failure import CommandError
from kronforce.cli.missing import warn_unknown_groups
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, facts, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, relative
from kronforce.v1.variable_pb2 import Variable

Switch = Annotated[bool, Parameter(negative=())]
Many = Annotated[list[str] | None, Parameter(negative=())]


def list_variables(*, search: str = "", limit: int = 100) -> None:
    """The variables that your key may see, by name. Secrets are masked.

    Parameters
    ----------
    search
        Only names that contain this, in any case.
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.variables.page(search=search, page_size=limit)
    show_list(session, page.variables, _columns(session), name=_name, reply=page)


def get(name: str, /) -> None:
    """One variable. A secret's value is never shown.

    Parameters
    ----------
    name
        The variable's name or id.
    """
    session = current()
    with session.client() as client:
        variable = client.variables.get(name)
    if is_data(session):
        show_row(session, variable, name=_name)
        return
    facts(
        session,
        [
            ("name", variable.name),
            ("value", variable.value),
            ("kind", _kind(variable)),
            ("about", variable.description),
            ("groups", _groups(variable)),
            ("expires", _expiry(session, variable)),
            ("changed", f"{absolute(variable.updated_at, utc=session.settings.utc)}"
             f" by {variable.updated_by}"),
            ("id", variable.id),
        ],
    )  # fmt: skip


def set_variable(
    name: str,
    value: str | None = None,
    /,
    *,
    secret: Switch = False,
    file: Path | None = None,
    description: str | None = None,
    group: Many = None,
    all_groups: Switch = False,
    expires_in_days: int | None = None,
    expires_at: str | None = None,
) -> None:
    """Make a variable or change it; what is not said stays as it is.

    Give a secret's value on standard input or by --file: a command line is seen by others. At a
    terminal you are asked for it.

    Parameters
    ----------
    name
        Letters, digits and _; tasks name it {{NAME}}.
    value
        The value; leave it out to read standard input, or to change the rest alone.
    secret
        Keep it encrypted, never show it again, mask it in output.
    file
        Read the value from this file, as it is.
    description
        For people.
    group
        Only jobs of this group may name it; may be repeated.
    all_groups
        No group in particular: of a secret, only jobs that an admin saved.
    expires_in_days
        From then on it is not put in any more: 30, 90, 180, 365 or any other number.
    expires_at
        The same as an instant, such as 2026-12-31T00:00:00+01:00.
    """
    session = current()
    if group and all_groups:
        raise UsageError("--group and --all-groups contradict each other")
    if value is not None and file is not None:
        raise UsageError("a value and --file contradict each other")
    groups: list[str] | None = [] if all_groups else group
    instant = _instant(expires_at)
    rest = (description, groups, expires_in_days, instant)
    says_more = any(content is not None for content in rest)
    text = _value(name, value, file, secret=secret, needed=not says_more)
    with session.client() as client:
        made = client.variables.set(
            name,
            text,
            secret=secret or None,
            description=description,
            allowed_groups=groups,
            expires_at=instant,
            expires_in_days=expires_in_days,
        )
        warn_unknown_groups(session, client, group or [])
    for warning in made.warnings:
        session.warn(f"warning: {name}: {warning}")
    if is_data(session):
        show_row(session, made, name=_name)
        return
    print(f"{made.name} set{' (secret)' if made.secret else ''}")


def delete(name: str, /, *, yes: Switch = False, force: Switch = False) -> None:
    """Delete a variable that no job names.

    Parameters
    ----------
    name
        The variable's name or id.
    yes
        Do not ask.
    force
        Also where jobs name it: their next attempts find nothing for it.
    """
    session = current()
    if not yes:
        session.ask(f'Delete variable "{name}"?', "--yes")
    with session.client() as client:
        client.variables.delete(name, force=force)
    print(f"{name} deleted")


def rotate(*, yes: Switch = False) -> None:
    """Make a new key for secrets and write all of them anew under it, while everything goes on.

    Parameters
    ----------
    yes
        Do not ask.
    """
    session = current()
    if not yes:
        session.ask("Write every secret anew under a new key?", "--yes")
    with session.client() as client:
        reply = client.system.rotate_secret_key(timeout_secs=_ROTATION_SECS)
    if is_data(session):
        show_row(session, reply, name=lambda row: str(row.key_id))
        return
    count = reply.rewritten
    print(f"{count} secret{'' if count == 1 else 's'} written anew under key {reply.key_id}")


# 10,000 secrets in batches of 50 take seconds; a busy store longer.
_ROTATION_SECS = 300.0


def _value(
    name: str, value: str | None, file: Path | None, *, secret: bool, needed: bool
) -> str | None:
    """The value: from the line, a file, a pipe or the keyboard; None where none was meant."""
    if value is not None:
        return value
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except OSError as error:
            raise CommandError(f"cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CommandError(f"cannot read {file}: it is not UTF-8 text") from None
    if not sys.stdin.isatty():
        text = sys.stdin.read() if needed or secret else ""
        # What `echo` and editors put at the end of the last line is not meant.
        return text.removesuffix("\n") if text or needed else None
    if secret:
        return getpass(f"value of {name}: ") or None
    if needed:
        raise UsageError(f"no value for {name}", f"kronforce variable set {name} VALUE")
    return None


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'"{text}" is not an instant', "--expires-at 2026-12-31T00:00:00+01:00"
        ) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _name(variable: Variable) -> str:
    return str(variable.name)


def _kind(variable: Variable) -> str:
    return "secret" if variable.secret else "variable"


def _groups(variable: Variable) -> str:
    if variable.allowed_groups:
        return ", ".join(variable.allowed_groups)
    return "admins' jobs" if variable.secret else "all"


def _expiry(session: Session, variable: Variable) -> str:
    if not variable.HasField("expires_at"):
        return ""
    at = absolute(variable.expires_at, utc=session.settings.utc)
    return f"expired {at}" if variable.expired else at


def _columns(session: Session) -> list[Column]:
    now = session.clock.now()

    def expires(variable: Variable) -> str:
        if not variable.HasField("expires_at"):
            return ""
        word = "expired " if variable.expired else ""
        return word + relative(variable.expires_at, now)

    return [
        Column(title="NAME", text=_name, gives=Gives.NAME),
        Column(
            title="VALUE", text=_shown, plain=lambda variable: str(variable.value), gives=Gives.TEXT
        ),
        Column(title="GROUPS", text=_groups, gives=Gives.TEXT),
        Column(title="EXPIRES", text=expires, plain=lambda each: _expiry(session, each)),
        Column(title="CHANGED BY", text=lambda variable: str(variable.updated_by), wide=True),
        Column(
            title="ABOUT",
            text=lambda variable: str(variable.description),
            wide=True,
            gives=Gives.TEXT,
        ),
        Column(title="ID", text=lambda variable: str(variable.id), wide=True),
    ]


# Of a long value the table shows the beginning; `get` shows all of it.
_SHOWN = 40


def _shown(variable: Variable) -> str:
    line = variable.value.replace("\n", "⏎")
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
