"""A file of zone data with nothing but a rule, as RFC 8536 has it."""

import struct
from pathlib import Path


def write_zone(path: Path, rules: str) -> None:
    """`rules` is a POSIX TZ string, such as `CET-1CEST,M3.5.0,M10.5.0/3`."""
    types = struct.pack(">lbb", 0, 0, 0)
    names = b"UTC\0"
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, len(names))
    block = b"TZif2" + b"\0" * 15 + counts + types + names
    path.write_bytes(block + block + b"\n" + rules.encode() + b"\n")
