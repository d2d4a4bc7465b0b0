"""A fresh database on the PostgreSQL that the tests share, and its postmaster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.bench import usage
from tests.bench.product import CHECKOUT

SCRIPT = CHECKOUT / "tests" / "services" / "postgres.py"
NAME = f"kronforce_bench_{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class Server:
    """`data` is its folder, where what it syncs is written."""

    url: str
    postmaster: int
    version: str
    data: Path


@contextmanager
def server() -> Iterator[Server]:
    """Hold the server while the context is open, on our cores."""
    holder = ("--holder", str(os.getpid()))
    url = _script("start", *holder)
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            version = str(connection.info.parameter_status("server_version"))
            row = connection.execute("show data_directory").fetchone()
        assert row is not None
        data = Path(row[0])
        postmaster = int((data / "postmaster.pid").read_text().split()[0])
        for pid in (postmaster, *usage.children(postmaster)):
            os.sched_setaffinity(pid, os.sched_getaffinity(0))
        yield Server(url=url, postmaster=postmaster, version=version, data=data)
    finally:
        _script("stop", *holder)


@contextmanager
def database(of: Server) -> Iterator[str]:
    """Its URL; dropped in the end."""
    with psycopg.connect(of.url, autocommit=True) as connection:
        connection.execute(f"create database {NAME}")
        try:
            yield of.url.rpartition("/")[0] + "/" + NAME
        finally:
            connection.execute(f"drop database {NAME} with (force)")


def _script(*words: str) -> str:
    done = subprocess.run([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, text=True,
                          check=True)  # fmt: skip
    return done.stdout.strip()
