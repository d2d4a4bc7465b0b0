"""The flags of commands that work at the data folder: which folder, which database.

They are the controller's own settings, from the same flags, environment and file.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from kronforce.cli.failure import CommandError
from kronforce.cli.given_flags import given, settled
from kronforce.cli.session import current

if TYPE_CHECKING:
    from kronforce.config import Config


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HostFlags:
    """Which controller's files.

    Parameters
    ----------
    data_dir
        The controller's data folder; also KRONFORCE_DATA_DIR.
    db
        Its database, if not in that folder: a SQLite file or a postgresql:// URL.
    config
        The controller's TOML file.
    """

    data_dir: Path | None = None
    db: str | None = None
    config: Path | None = None

    def load(self) -> Config:
        """The controller's settings. Raises CommandError."""
        return settled(given(self), current().settings.environ)


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong at the data folder becomes this command's error."""
    from kronforce.host.opening import HostError

    try:
        yield
    except HostError as error:
        message, *hints = str(error).split("\n")
        raise CommandError(message, *hints) from error
    except OSError as error:
        # Of a folder that is another user's, of a disk that is full.
        raise CommandError(f"{error.strerror}: {error.filename or 'the data folder'}") from error
