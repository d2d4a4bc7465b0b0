"""A small file system of memory, which a test fills and empties. Needs root, for the mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1 << 20


class Disk:
    """What is mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill_to(self, free: int) -> None:
        """Leave about so many bytes free."""
        stats = os.statvfs(self.folder)
        available = stats.f_bavail * stats.f_frsize
        with self._filler.open("ab") as file:
            file.write(b"\0" * max(0, available - free))

    def fill(self) -> None:
        """Leave none."""
        try:
            with self._filler.open("ab", buffering=0) as file:
                while file.write(b"\0" * 65_536):
                    pass
                while file.write(b"\0" * 512):
                    pass
        except OSError:
            pass

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Disk]:
    """So many bytes at this folder; without root the test is skipped by name."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a small file system")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
