"""`login`: remember a server and a key, after a call that shows that they work."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.key import role_word
from kronforce.cli.session import current
from kronforce_client import Client
from kronforce_client.discovery import Contexts, contexts_file


def login(name: str = "default", /) -> None:
    """Remember --address and --key, checked first, as a context that is used from then on.

    Without --key the key is read from standard input, unseen. Several contexts live side by
    side: `kronforce --context NAME …` picks one, `kronforce login NAME` makes it the usual one.

    Parameters
    ----------
    name
        The context's name.
    """
    session = current()
    connection = session.connection()
    if not session.settings.key:
        connection = replace(connection, key=_read_key() or connection.key)
    if not connection.key:
        raise CommandError("no key was given", "--key, or on standard input", code=Exit.BAD_KEY)
    with Client(connection=connection) as client:
        who = client.keys.whoami()
    contexts = Contexts.load(contexts_file(session.settings.environ))
    contexts.save(name, connection)
    print(f"logged in to {connection.address} as {who.key.name}, {role_word(who.key)}")
    session.say(f"kept in {contexts.path} as {name}")


def _read_key() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("key (nothing is shown; empty: the one that was found): ").strip()
    return sys.stdin.readline().strip()
