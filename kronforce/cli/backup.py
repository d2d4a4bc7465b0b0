"""`backup`: everything a controller needs to go on, in one file."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.host_flags import HostFlags, told
from kronforce.cli.progress import progress_bar
from kronforce.cli.session import Session, current
from kronforce.cli.show import show_plain
from kronforce.cli.status import size

Switch = Annotated[bool, Parameter(negative=())]


def backup(
    flags: HostFlags | None = None,
    *,
    out: Path | None = None,
    no_keys: Switch = False,
    verify: Switch = False,
    force: Switch = False,
) -> None:
    """Back up the database, its output and the keys, whether the controller runs or not.

    Parameters
    ----------
    flags
        Which controller's files.
    out
        The file to write; `.tar` is not compressed. Default: kronforce-TIME.tar.gz here.
    no_keys
        Leave out the key files: whoever has the backup then cannot read secrets, nor can you
        without them.
    verify
        Let the database look through the copy, and read the file back.
    force
        Replace a file that is there.
    """
    from kronforce.host import backup as making

    session = current()
    with told(), progress_bar() as bar:
        config = (flags or HostFlags()).load()
        wanted = making.Wanted(
            target=out or _name(session, sqlite=config.sqlite),
            with_keys=not no_keys,
            overwrite=force,
            thorough=verify,
        )
        made = making.make(config, wanted, session.clock, bar)
    plain = {
        "path": str(made.path), "size": made.size, "keys": list(made.keys), "verified": verify,
        "secrets_key_missing": made.secrets_key_missing,
    }  # fmt: skip
    show_plain(session, plain, name=str(made.path), text=str(made.path))
    session.say(f"{size(made.size)}{', verified' if verify else ''}")
    if made.keys:
        session.warn(f"it holds {', '.join(made.keys)}: whoever reads it owns the installation")
    if made.secrets_key_missing:
        session.warn("the key of its secrets is not in it: keep that too, or they are lost")
    session.say(f"to restore: kronforce restore {made.path} --data-dir FOLDER")


def _name(session: Session, *, sqlite: bool) -> Path:
    # A dump of PostgreSQL is compressed already.
    return Path(f"kronforce-{session.clock.now():%Y%m%dT%H%M%SZ}{'.tar.gz' if sqlite else '.tar'}")
