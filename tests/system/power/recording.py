"""Builds the recorder, and says with what environment a process is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parent / "recorder.c"
INSTALL_LIMIT_SECS = 600


class NoCompiler(Exception):
    """This machine has no C compiler and no way to install one."""


def build(folder: Path, *flags: str) -> Path:
    """The recorder as a library. Raises NoCompiler."""
    library = folder / "recorder.so"
    command = [_compiler(), "-O2", "-Wall", "-Werror", "-shared", "-fPIC", *flags]
    subprocess.run([*command, "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


def _compiler() -> str:
    if (found := shutil.which("cc") or shutil.which("gcc")) is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoCompiler("no C compiler, and installing one needs root and apt")
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", "gcc", "libc6-dev"]):
        subprocess.run([*apt, *words], check=True, capture_output=True, stdin=subprocess.DEVNULL,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                       timeout=INSTALL_LIMIT_SECS)  # fmt: skip
    return shutil.which("gcc") or "gcc"


@dataclass(kw_only=True)
class Recording:
    """The log of what happens below `root`, and what somebody was told at which moment."""

    library: Path
    root: Path
    log: Path
    told: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For every process whose writes count."""
        return {
            "LD_PRELOAD": str(self.library),
            "POWER_ROOT": str(self.root),
            "POWER_LOG": str(self.log),
        }

    def now(self) -> int:
        """This moment: whatever is certain is in the log up to here."""
        return self.log.stat().st_size

    def tell(self, what: str, value: str) -> None:
        """Somebody has just been told this; every cut from now on has to know it."""
        self.told.append((self.now(), what, value))

    def told_before(self, cut: int) -> list[tuple[str, str]]:
        return [(what, value) for at, what, value in self.told if at <= cut]
