"""Changes at the data folder, written into the audit log in the same transaction.

The controller does this through its committer; here each transaction is a
chain of its own, begun and ended by it, signed with the same `audit.key`. Next
to a controller that runs, both chains stand in the book side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kronforce import audit_key
from kronforce.clock import Clock
from kronforce.config import CannotStart, Config
from kronforce.host.opening import HostError
from kronforce.store.audit_chain import AuditChain, book_holds
from kronforce.store.database import Database, Tx, writing


class Host:
    """Whoever may write to the data folder: no principal, no address."""

    name = "host"
    id = ""
    peer = ""
    surface = "host"


HOST = Host()


@contextmanager
def auditing(config: Config, database: Database, clock: Clock) -> Iterator[Tx]:
    """A write transaction that ends with what was recorded in it. Raises HostError."""
    chain = AuditChain(_key(config), clock.now_us)
    with writing(database.main) as tx:
        if not book_holds(tx, chain.signer):
            raise HostError(
                f"{config.data_dir / audit_key.FILE} is not the key that this database's audit log"
                " was signed with: name the controller's own data folder with --data-dir, or put"
                " the key back from a backup"
            )
        yield tx
        chain.write(tx, tx.noted)
        tx.noted.clear()


def _key(config: Config) -> bytes:
    try:
        return audit_key.read_from(config.data_dir)
    except FileNotFoundError as error:
        raise HostError(
            f"there is no {config.data_dir / audit_key.FILE}, with which the audit log is signed:"
            " name the controller's own data folder with --data-dir; if that is it, put the key"
            " back from a backup, or start the controller, which makes a new one"
        ) from error
    except CannotStart as error:
        raise HostError(str(error)) from error
