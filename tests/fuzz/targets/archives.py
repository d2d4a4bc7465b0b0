"""Backups: a file that somebody gives to `kronforce restore`."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kronforce.host import archive
from kronforce.host.archive import Manifest, part_of
from kronforce.host.opening import HostError
from tests.fuzz.inputs import EDGES, damage, damaged
from tests.fuzz.target import Check, Target

_PART = b"0123456789" * 40


def _made(folder: Path) -> bytes:
    part = folder / "kronforce.db"
    part.write_bytes(_PART)
    manifest = Manifest(
        format=archive.FORMAT, version="1", created_at="2026", store="sqlite", namespace="",
        schema={"main": "0001", "output": "0001"}, parts=(part_of(part, "db"),),
    )  # fmt: skip
    archive.write(folder / "good.tar", manifest, [part], folder, lambda *_: None)
    return (folder / "good.tar").read_bytes()


def _forged(manifest: bytes, name: str, size: int) -> bytes:
    """An archive by hand: a manifest, and one member with whatever it claims to be."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for each, content in ((archive.MANIFEST, manifest), (name, _PART)):
            info = tarfile.TarInfo(each)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = bytearray(whole.getvalue())
    if size:
        data[124:136] = b"%011o\0" % (size % 8**11)
    return bytes(data)


_MANIFEST = {
    "format": 1, "version": "1", "created_at": "2026", "store": "sqlite", "namespace": "",
    "schema": {"main": "0001"}, "parts": [{"name": "a.db", "kind": "db", "size": 400}],
}  # fmt: skip
_odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, 1, -1, 2**70, "", "..", "/etc/passwd", [], [[]], {}, True, 1.5, "a.db", {"name": "a.db"}]
)
manifests = st.dictionaries(st.sampled_from(sorted(_MANIFEST)), _odd, max_size=3).map(
    lambda changed: json.dumps(_MANIFEST | changed).encode()
) | damaged([json.dumps(_MANIFEST).encode(), b"[" * 30_000])
forged = st.builds(
    _forged, manifests, st.sampled_from(["a.db", "../a", ""]), st.sampled_from(EDGES[:10])
)


@asynccontextmanager
async def _archives(folder: Path) -> AsyncIterator[Check]:
    good = _made(folder)

    def check(value: tuple[bytes | int, bool]) -> None:
        given, squeezed = value
        data = given if isinstance(given, bytes) else _with_seed(good, given)
        path = folder / "given.tar"
        path.write_bytes(gzip.compress(data, 1) if squeezed else data)
        out = folder / "out"
        out.mkdir(exist_ok=True)
        with suppress(HostError):
            archive.extract(path, out, lambda *_: None)
        for each in out.iterdir():
            each.unlink()

    yield check


def _with_seed(good: bytes, number: int) -> bytes:
    return damage(good[:6_000], number, 3)


TARGETS = [
    Target(
        name="backup",
        inputs=st.tuples(forged | st.integers(0, 2**64 - 1), st.booleans()),
        opened=_archives,
        short=60,
    ),
]
