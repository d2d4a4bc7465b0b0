"""`run logs --save`: an output as a file, byte for byte, there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from kronforce.cli.failure import CommandError
from kronforce.cli.run_output import Wanted, parts_of
from kronforce.cli.session import Session
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client


def save_output(session: Session, client: Client, run: Run, wanted: Wanted, target: Path) -> int:
    """Write every attempt's output, in order, beside the file, then put it in its place."""
    if target.exists() and not target.is_file():
        # As root even a device could be replaced.
        raise CommandError(f"{target} is no regular file", "to a pipe or device: kronforce … > it")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _refused(target, error) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            size = _write(session, client, run, wanted, file)
        part.replace(target)
    except OSError as error:
        raise _refused(target, error) from None
    finally:
        part.unlink(missing_ok=True)
    session.say(f"{size:,} bytes in {target}")
    return 0


def _write(session: Session, client: Client, run: Run, wanted: Wanted, file: BinaryIO) -> int:
    """A gap is told, and leaves no mark among the bytes."""
    size = 0
    for part in parts_of(client, run, wanted):
        for chunk in part.chunks:
            if chunk.gap_bytes:
                session.warn(f"[{chunk.gap_bytes:,} bytes are missing after byte {size:,}]")
            size += file.write(chunk.data)
    return size


def _refused(target: Path, error: OSError) -> CommandError:
    return CommandError(f"cannot write {target}: {error.strerror}", "--save FILE names another")
