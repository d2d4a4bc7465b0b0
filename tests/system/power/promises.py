"""What must hold on a disk after a cut: read from the files, without starting anything."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from kronforce.config import Config
from kronforce.core.ids import to_text
from kronforce.master_key import opened
from kronforce.store import secret_keys
from kronforce.store.copying import DamagedError
from kronforce.store.database import open_database, output_file, reading
from kronforce.store.wholeness import look_at_start
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce_agent import enrolment, records
from kronforce_agent.records import Accept, Key, Mark, ResultRecord
from kronforce_agent.segments import segments
from tests.system.power.cutting import Cut

RUNNING = ExecutionState.EXECUTION_STATE_RUNNING


def held_by(folder: Path) -> tuple[set[Key], set[Key]]:
    """What a journal knows: (accepted and not over, with a result)."""
    accepted: set[Key] = set()
    ended: set[Key] = set()
    for path in segments(folder)[-1:]:
        for record in records.read(path.read_bytes()).records:
            _note(record, accepted, ended)
    return accepted, ended


def _note(record: records.Record, accepted: set[Key], ended: set[Key]) -> None:
    key = (record.execution_id, record.fence)
    if isinstance(record, Accept):
        accepted.add(key)
    elif isinstance(record, ResultRecord):
        ended.add(key)
    elif isinstance(record, Mark) and record.kind == records.DROPPED:
        accepted.discard(key)


class Controller:
    """A controller's folder after a cut, and an agent's beside it."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._folder = cut.disk / "controller"
        self._db = self._folder / "kronforce.db"
        self._journal = cut.disk / "agents" / "agent-one" / "journal"

    def broken(self) -> list[str]:
        """Every promise that does not hold."""
        found: list[str] = []
        try:
            found += self._of_files()
            if self._cut.values("job"):
                found += self._of_rows()
        except (DamagedError, sqlite3.DatabaseError, sa.exc.DatabaseError) as error:
            found.append(f"the database cannot be read: {error}")
        return [f"{self._cut}: {each}" for each in found]

    def _of_files(self) -> Iterable[str]:
        for path in (self._db, output_file(self._db)):
            if not path.exists():
                continue
            look_at_start(path, monotonic=time.monotonic)
            with closing(sqlite3.connect(path)) as file:
                said = file.execute("PRAGMA integrity_check").fetchone()[0]
            if said != "ok":
                yield f"{path.name}: {said}"
        if self._cut.values("serving") and not (self._folder / "admin.key").exists():
            yield "the admin key is gone"
        if self._cut.values("online") and enrolment.load(self._journal.parent) is None:
            yield "the agent's credential is gone"

    def _of_rows(self) -> Iterable[str]:
        database = open_database(str(self._db))
        try:
            with reading(database.main) as tx:
                jobs = {row[0] for row in _rows(tx, "SELECT name FROM jobs")}
                runs = {to_text(row[0]): row[1] for row in _rows(tx, "SELECT id, state FROM runs")}
                running = [
                    (to_text(row[0]), row[1])
                    for row in _rows(
                        tx, f"SELECT id, fence FROM executions WHERE state = {RUNNING}"
                    )
                ]
                names = {row[0] for row in _rows(tx, "SELECT name FROM variables")}
                keys = secret_keys.all_keys(tx)
        finally:
            database.close()
        yield from (f"job {name} is gone" for name in self._cut.values("job") - jobs)
        yield from (f"run {each} is gone" for each in self._cut.values("run") - runs.keys())
        yield from (f"secret {each} is gone" for each in self._cut.values("secret") - names)
        for ended in self._cut.values("ended"):
            run, _, state = ended.partition(" ")
            if runs.get(run) != int(state):
                yield f"run {run} was told as {state} and is {runs.get(run)}"
        if names:
            # Raises where the master key is gone or another.
            opened(Config(data_dir=self._folder, db=str(self._db)), keys)
        yield from self._of_agent(running)

    def _of_agent(self, running: list[Key]) -> Iterable[str]:
        """What the controller was told of is in the journal, or the agent denies it."""
        accepted, ended = held_by(self._journal)
        for key in running:
            if key not in accepted | ended:
                yield f"{key} runs, and the agent that said so does not know it"


def _rows(tx: object, query: str) -> list[tuple[object, ...]]:
    return list(tx.conn.exec_driver_sql(query))  # type: ignore[attr-defined]
