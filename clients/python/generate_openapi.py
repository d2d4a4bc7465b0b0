"""Writes docs/openapi.json: every route of the gateway, with the contract's comments and the limits
that requests are checked against.

Run it after a change of the contract, of a limit or of what the gateway serves; a test holds it
current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from generate_job_schema import LIMITS, PACKAGE, ROOT, contract_comments, is_required
from kronforce import __version__
from kronforce.core.access import PERMISSIONS, roles_with
from kronforce_client.dialect.schema import Notes
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.openapi.document import document

TARGET = ROOT / "docs" / "openapi.json"


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    written = json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"
    if not target.exists() or target.read_text(encoding="utf-8") != written:
        target.write_text(written, encoding="utf-8")


def openapi() -> dict[str, Any]:
    """The document."""
    comments = contract_comments()
    notes = Notes(
        comments=comments,
        keywords={f"{PACKAGE}.{name}": {**limits} for name, limits in LIMITS.items()},
        required=frozenset(name for name, comment in comments.items() if is_required(comment)),
        closed_enums=True,
    )
    roles = {each: [str(role) for role in roles_with(each)] for each in PERMISSIONS}
    return document(SERVICES, notes, version=__version__, roles=roles)


if __name__ == "__main__":
    main()
