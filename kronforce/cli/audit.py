"""`audit list` and `audit verify`: who changed what, and whether the log is what was written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from google.protobuf.struct_pb2 import Struct

from kronforce.cli.exit_codes import Exit
from kronforce.cli.moments import moment
from kronforce.cli.session import Session, current
from kronforce.cli.show import Column, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, as_datetime
from kronforce.v1.audit_pb2 import AuditEntry
from kronforce.v1.audit_service_pb2 import VerifyAuditResponse

Switch = Annotated[bool, Parameter(negative=())]

# Names of changed fields in a table; the rest is in -o json.
FIELDS_SHOWN = 4


def list_audit(
    *,
    operation: str = "",
    actor: str = "",
    resource: str = "",
    since: str | None = None,
    until: str | None = None,
    refused: Switch = False,
    limit: int = 50,
) -> None:
    """Who changed what, newest first. -o json has each thing before and after.

    Parameters
    ----------
    operation
        Only this operation, for example job.updated, or job.*.
    actor
        Only what this key did, by name or id.
    resource
        Only what was done to this thing, by name or id.
    since
        Only at or after: 7d, 24h, a date or an instant; without an offset in local time.
    until
        Only before; the same forms.
    refused
        Only what was refused.
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.audit.page(
            operation=operation,
            actor=actor,
            resource=resource,
            since=_instant(session, since, "--since"),
            until=_instant(session, until, "--until"),
            refused=refused,
            page_size=limit,
        )
    show_list(session, page.entries, _columns(session), name=_place, reply=page)


def verify() -> int:
    """Check that no entry was changed, removed or moved since it was written.

    Ends with 1 where the log does not hold. Goes on while the server works.
    """
    session = current()
    with session.client() as client:
        found = client.audit.verify()
    if is_data(session):
        show_row(session, found, name=lambda row: "ok" if row.ok else "broken")
    else:
        _tell(found)
    return Exit.FINE if found.ok else Exit.ERROR


def _tell(found: VerifyAuditResponse) -> None:
    chains = f"{found.chains:,} chain" + ("" if found.chains == 1 else "s")
    cut = f"; {found.cut:,} older ones were cut by retention" if found.cut else ""
    if found.ok:
        print(f"the audit log holds: {found.checked:,} entries in {chains}{cut}")
        return
    print(f"the audit log does not hold: {found.checked:,} entries in {chains}{cut}")
    for fault in found.faults:
        print(f"  {fault.fault:<10}  {fault.message}")
    print("  docs/audit.md says what each of these means, and what to do")


def _columns(session: Session) -> list[Column]:
    utc = session.settings.utc

    def at(entry: AuditEntry) -> str:
        return absolute(entry.at, utc=utc)

    def short_at(entry: AuditEntry) -> str:
        moment = as_datetime(entry.at)
        return f"{moment if utc else moment.astimezone():%m-%d %H:%M:%S}"

    return [
        Column(title="AT", text=short_at, plain=at),
        Column(title="ACTOR", text=lambda entry: str(entry.actor), gives=Gives.NAME),
        Column(title="OPERATION", text=lambda entry: str(entry.operation)),
        Column(title="ON", text=_resource, gives=Gives.NAME),
        Column(title="GROUP", text=lambda entry: str(entry.group), gives=Gives.NAME),
        Column(title="WHAT", text=_what, gives=Gives.TEXT),
        Column(title="FROM", text=lambda entry: f"{entry.peer} {entry.surface}", wide=True),
        Column(title="ENTRY", text=_place, wide=True),
    ]


def _resource(entry: AuditEntry) -> str:
    return f"{entry.resource_type} {entry.resource_name or entry.resource_id}"


def _place(entry: AuditEntry) -> str:
    return f"{entry.chain_id}-{entry.sequence}"


def _what(entry: AuditEntry) -> str:
    """What differs between before and after; of a refusal, why."""
    if entry.refused:
        role = entry.details.fields["role"].string_value
        return f"refused: not for {role or 'its role'}"
    if not (entry.HasField("before") and entry.HasField("after")):
        return ""
    changed = _differences(entry.before, entry.after)
    more = len(changed) - FIELDS_SHOWN
    return ", ".join(changed[:FIELDS_SHOWN]) + (f" +{more}" if more > 0 else "")


def _differences(before: Struct, after: Struct) -> list[str]:
    one, other = before.fields, after.fields
    names = sorted({*one, *other} - {"version"})
    return [
        name
        for name in names
        if (name in one) != (name in other) or (name in one and one[name] != other[name])
    ]


def _instant(session: Session, text: str | None, flag: str) -> datetime | None:
    """An instant without a zone is local time, or UTC with --utc."""
    if text is None:
        return None
    zone = UTC if session.settings.utc else None
    return moment(text, now=session.clock.now(), zone=zone, flag=flag)
