"""The page at `/`: one address, whose views stand behind the `#`, on the API that everybody has."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"

FILES = {
    "/": STATIC / "index.html",
    **{f"/static/{name.name}": name for name in STATIC.iterdir() if name.suffix != ".html"},
}
