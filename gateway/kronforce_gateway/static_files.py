"""Files that never change while this process runs: read at the first request and kept, compressed
too; whoever has one already is told so by its ETag.

A page's policy allows what stands beside it and nothing else: no script in the page, nothing from
other hosts, no frame around it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from kronforce_gateway import failures
from kronforce_gateway.calls import Receive, Scope, Send, respond
from kronforce_gateway.front.compression import takes_gzip
from kronforce_gateway.front.passage import headers_of, passage_of

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# Asked for again each time, and answered with 304: an upgrade is seen at once.
_KEPT = "no-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A file as it is sent."""

    plain: bytes
    compressed: bytes
    etag: str


class StaticFiles:
    """An ASGI application of a few files. `files`: by path of the URL."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.paths = frozenset(files)
        self._files = dict(files)
        self._loaded: dict[str, _Loaded] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for one of `paths`."""
        path, verb = scope["path"], scope["method"]
        if passage := passage_of(scope):
            # Named, and not counted against anybody's limit.
            passage.route = path
        if verb not in ("GET", "HEAD"):
            failure = failures.wrong_verb(verb, path, ["GET", "HEAD"])
            await respond(send, failure.status, failure.body(), failure.headers)
            return
        loaded = self._loaded.get(path) or await self._load(path)
        asked = headers_of(scope)
        headers = {"etag": loaded.etag, "cache-control": _KEPT, "vary": "accept-encoding"}
        kind = _KINDS[self._files[path].suffix]
        if kind.startswith("text/html"):
            headers["content-security-policy"] = PAGE_POLICY
        if loaded.etag in asked.get(b"if-none-match", b"").decode("latin-1"):
            await respond(send, HTTPStatus.NOT_MODIFIED, b"", headers, kind.encode())
            return
        body = loaded.plain
        if takes_gzip(asked.get(b"accept-encoding")):
            body, headers["content-encoding"] = loaded.compressed, "gzip"
        await respond(send, HTTPStatus.OK, b"" if verb == "HEAD" else body, headers, kind.encode())

    async def _load(self, path: str) -> _Loaded:
        """Read and compressed beside the event loop; two at once do it twice."""
        self._loaded[path] = await asyncio.to_thread(_load, self._files[path])
        return self._loaded[path]


def _load(file: Path) -> _Loaded:
    plain = file.read_bytes()
    return _Loaded(
        plain=plain,
        compressed=gzip.compress(plain, 9, mtime=0),
        etag=f'"{hashlib.sha256(plain).hexdigest()[:20]}"',
    )
