"""A copy of files that are written to is one moment of both."""

import sqlite3
import threading
from contextlib import closing

import pytest

from kronforce.store.copying import STEP_PAGES, DamagedError, check_file, copy_files

# Enough for several steps of the copy.
PAGES = STEP_PAGES * 3


def make(path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)")
        file.executemany("INSERT INTO t VALUES (?, zeroblob(3500))", [(n,) for n in range(rows)])
        file.execute("CREATE TABLE total (n INTEGER)")
        file.execute("INSERT INTO total VALUES (?)", (rows,))
        file.commit()


def counted(path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as file:
        return (
            file.execute("SELECT count(*) FROM t").fetchone()[0],
            file.execute("SELECT n FROM total").fetchone()[0],
        )


def test_the_copy_ends_while_a_writer_never_stops_and_is_one_moment_of_each_file(tmp_path):
    main, output = tmp_path / "k.db", tmp_path / "k-output.db"
    make(main, PAGES)
    make(output, PAGES)
    over, first = threading.Event(), threading.Event()

    def write() -> None:
        # Output first, as the controller does it: what main refers to is there.
        with closing(sqlite3.connect(main)) as a, closing(sqlite3.connect(output)) as b:
            number = PAGES
            while not over.is_set():
                for file in (b, a):
                    file.execute("INSERT INTO t VALUES (?, zeroblob(3500))", (number,))
                    file.execute("UPDATE total SET n = n + 1")
                    file.commit()
                number += 1
                first.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert first.wait(30)
    told = []
    try:
        copies = [(main, tmp_path / "a"), (output, tmp_path / "b")]
        copy_files(copies, lambda done, total: told.append((done, total)))
    finally:
        over.set()
        writer.join()

    (rows, total), (output_rows, output_total) = counted(tmp_path / "a"), counted(tmp_path / "b")
    assert rows == total
    assert output_rows == output_total
    assert PAGES < rows <= output_rows
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    for name in ("a", "b"):
        check_file(tmp_path / name, thorough=True)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} >= {"a", "b"}
    assert not list(tmp_path.glob("a-*")) + list(tmp_path.glob("b-*"))


@pytest.mark.parametrize("thorough", [False, True])
def test_a_file_that_is_not_whole_is_found(tmp_path, thorough):
    path = tmp_path / "k.db"
    make(path, 100)
    content = bytearray(path.read_bytes())
    content[4096 * 20 : 4096 * 40] = b"\xaa" * (4096 * 20)
    path.write_bytes(content)

    with pytest.raises(DamagedError):
        check_file(path, thorough=thorough)

    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(DamagedError):
        check_file(tmp_path / "no.db", thorough=thorough)
