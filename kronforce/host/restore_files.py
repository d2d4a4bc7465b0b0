"""A restore on SQLite: made ready beside the database, then renamed into place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kronforce.clock import Clock
from kronforce.config import Config
from kronforce.failpoints import failpoint
from kronforce.host import swapping
from kronforce.host.archive import Manifest
from kronforce.host.backup import MAIN, OUTPUT
from kronforce.host.beginning import begin
from kronforce.host.opening import HostError
from kronforce.host.workplace import workplace
from kronforce.store import new_history
from kronforce.store.database import open_database, output_file, writing
from kronforce.store.migrate import migrate

_staged = failpoint("host.restore.staged")


class Files:
    """The two files of a SQLite database, and the keys of its data folder."""

    def __init__(self, config: Config, manifest: Manifest, clock: Clock, *, force: bool) -> None:
        self._config = config
        self._manifest = manifest
        self._clock = clock
        main = Path(config.db)
        self._main, self._output = main, output_file(main)
        if not force and (found := swapping.there([self._main, self._output])):
            raise HostError(
                f"{found[0]} is there already; choose an empty --data-dir, or say --force to have"
                " what is there moved aside"
            )

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder from which files can be renamed into place."""
        with workplace(self._main.parent, swapping.STAGING) as made:
            yield made

    def put(self, staged: Path) -> tuple[int, tuple[str, ...]]:
        """Begin the new history and swap; the last fence of the old one, and what is aside."""
        folder = self._config.data_dir
        fence = self._begin(staged)
        _staged()
        keys = [part.name for part in self._manifest.parts if part.kind == "key"]
        # The main file last: without it there is nothing to start on.
        parts = {staged / name: folder / name for name in keys}
        parts |= {staged / OUTPUT: self._output, staged / MAIN: self._main}
        swapping.mark(folder)
        found = swapping.there(parts.values())
        aside = [str(swapping.move_aside(folder, found, self._clock))] if found else []
        swapping.place(folder, parts)
        swapping.unmark(folder)
        return fence, tuple(aside)

    def _begin(self, staged: Path) -> int:
        """In the staged copies; they are whole and closed afterwards."""
        main = staged / MAIN
        database = open_database(str(main))
        try:
            migrate(database, keep=False)
            with writing(database.main) as tx:
                fence = begin(tx, self._manifest, self._clock, (staged, self._config.data_dir))
            with writing(database.output) as tx:
                new_history.forget_output(tx, str(main))
        finally:
            database.close()
        for path in (main, staged / OUTPUT):
            assert not path.with_name(path.name + "-wal").exists(), "closing it emptied the log"
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return fence
