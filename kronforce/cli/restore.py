"""`restore`: a backup becomes the controller's database."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kronforce.cli.host_flags import HostFlags, told
from kronforce.cli.progress import progress_bar
from kronforce.cli.session import Session, current
from kronforce.cli.show import show_plain

if TYPE_CHECKING:
    from kronforce.host.archive import Manifest

Switch = Annotated[bool, Parameter(negative=())]


def restore(
    file: Path,
    /,
    flags: HostFlags | None = None,
    *,
    force: Switch = False,
    check: Switch = False,
) -> None:
    """Put a backup in place, while no controller runs.

    What happened since the backup is forgotten; reports about it change nothing. Runs that were
    open then are adopted from their agents or end by the usual rules.

    Parameters
    ----------
    file
        What `kronforce backup` wrote.
    flags
        Which controller's files.
    force
        Move aside what is there, instead of refusing.
    check
        Only read the backup through; nothing is changed.
    """
    from kronforce.host import restore as restoring

    session = current()
    if check:
        _check(session, file)
        return
    config = (flags or HostFlags()).load()
    with told(), progress_bar() as bar:
        done = restoring.restore(config, file, session.clock, bar, force=force)
    where = config.db if config.sqlite else "restored"
    plain = _plain(done.manifest) | {
        "fence": done.fence, "aside": list(done.aside), "keys": list(done.keys),
        "troubles": list(done.troubles),
    }  # fmt: skip
    show_plain(session, plain, name=where, text=where)
    session.say(f"the backup is of {done.manifest.created_at}; fences go on after {done.fence}")
    for place in done.aside:
        session.say(f"what was there is now in {place}")
    if done.keys:
        session.say(f"keys: {', '.join(done.keys)}")
    for trouble in done.troubles:
        session.warn(f"before you start: {trouble}")


def _check(session: Session, file: Path) -> None:
    from kronforce.host import restore as restoring

    with told(), progress_bar() as bar:
        manifest = restoring.check(file, bar)
    text = f"{file}: whole; made {manifest.created_at} by version {manifest.version}"
    show_plain(session, _plain(manifest), name=str(file), text=text)


def _plain(manifest: Manifest) -> dict[str, Any]:
    return {
        "backup_of": manifest.created_at,
        "version": manifest.version,
        "store": manifest.store,
        "schema": dict(manifest.schema),
    }
