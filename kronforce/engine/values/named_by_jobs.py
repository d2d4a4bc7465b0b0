"""The variables that a job names: whether its author may use them, and who names what.

Checked when the job is saved; a run acts with its job's group whoever fires it,
so they are checked again at each assignment. What the author may not see looks
like what does not exist.
"""

from __future__ import annotations

from kronforce.core.access import Scope, may_use, system_scope
from kronforce.core.templates import compile_task
from kronforce.errors import InUse, InvalidArgument, NotAllowed
from kronforce.store import variables
from kronforce.store.database import Tx
from kronforce.v1.job_pb2 import Job

# Jobs that a refusal names.
SHOWN = 5

_EVERYTHING = system_scope("jobs")


def check(tx: Tx, scope: Scope, spec: Job, group: str, *, trusted: bool) -> None:
    """Raises NotAllowed for one that jobs of this group may not use, InvalidArgument for one
    that does not exist where the job is strict.
    """
    names = _names(spec)
    if not names:
        return
    found = variables.find_variables(tx, _EVERYTHING, names)
    usable = {
        name
        for name, row in found.items()
        if may_use(row.allowed_groups, group, guarded=row.secret, by_admin=trusted)
    }
    seen = variables.find_variables(tx, scope, names)
    for name in sorted(seen.keys() - usable):
        raise _not_allowed(name, seen[name].allowed_groups, group)
    missing = sorted(set(names) - usable)
    if missing and spec.strict_variables:
        listed = ", ".join(missing)
        raise InvalidArgument.of(
            (
                "task",
                f"names variables that do not exist: {listed}; make them first (kronforce "
                "variable set), or drop strict_variables",
            )
        )


def check_group_move(tx: Tx, group: str, into: str) -> None:
    """Raises InUse where jobs of one group name what those of the other may not use."""
    limited = variables.limited_in_group(tx, group)
    lost = [
        name
        for name, allowed in limited.items()
        if may_use(allowed, group) and not may_use(allowed, into)
    ]
    if not lost:
        return
    found = variables.naming_in_group(tx, group, lost, SHOWN + 1)
    listed = ", ".join(f"{job} ({name})" for job, name in found[:SHOWN])
    more = " and others" if len(found) > SHOWN else ""
    raise InUse(
        f"jobs of {group!r} name variables that jobs of {into!r} may not use: {listed}{more}; "
        f"move them first (kronforce group assign GROUP {found[0][0]}), or have {into!r} "
        f"allowed: kronforce variable set {found[0][1]} --group …",
        group=group,
    )


def note(tx: Tx, job_key: int, spec: Job) -> None:
    """Remember what the job's new version names."""
    variables.name_in_job(tx, job_key, _names(spec))


def forget(tx: Tx, job_key: int) -> None:
    """The job is deleted: it names nothing any more."""
    variables.name_in_job(tx, job_key, ())


def _names(spec: Job) -> list[str]:
    return sorted(compile_task(spec.task).names)


def _not_allowed(name: str, allowed_groups: tuple[str, ...], group: str) -> NotAllowed:
    if allowed_groups:
        why = f"is for jobs of {', '.join(allowed_groups)} and not of {group!r}"
        way = "move the job to one of these, or have the group allowed"
    else:
        why = "is a secret without allowed_groups, for jobs that an admin saved"
        way = f"have {group!r} allowed"
    return NotAllowed(
        f"variable {name!r} {why}; {way}: kronforce variable set {name} --group …",
        variable=name,
        group=group,
    )
