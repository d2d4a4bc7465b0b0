"""`openapi`: the document that the gateway serves, without a server.

It is printed as it was generated (`clients/python/generate_openapi.py`).
"""

from __future__ import annotations

import sys
from importlib.resources import files


def openapi() -> None:
    """Print the OpenAPI 3.1 document of the HTTP API, for generators and other programs.

    A server has it at `/api/openapi.json`, and a page that shows it at `/api/docs`.
    """
    document = files("kronforce_gateway") / "reference" / "openapi.json"
    sys.stdout.write(document.read_text(encoding="utf-8"))
