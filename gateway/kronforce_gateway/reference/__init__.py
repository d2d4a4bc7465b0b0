"""The reference of the API: the OpenAPI document, and a page that shows it.

`openapi.json` is a link to the copy in `docs/`, which `make generate` writes. The page needs
nothing but the files beside it.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE / "openapi.json"

FILES = {
    "/api/openapi.json": DOCUMENT,
    "/api/docs": HERE / "index.html",
    **{
        f"/api/docs/{name}": HERE / name
        for name in ("reference.css", "reference.js", "operation.js", "schema.js", "dom.js")
    },
}
