"""`job schema`: the JSON Schema of job files, for editors and whatever else checks them.

It is printed as it was generated (`clients/python/generate_job_schema.py`), so it costs nothing to
ask for it. In a checkout `job.schema.json` is a link to the copy in `docs/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

SCHEMA = Path(__file__).with_name("job.schema.json")


def text() -> str:
    """The schema, as JSON."""
    return SCHEMA.read_text(encoding="utf-8")


def schema() -> None:
    """Print the JSON Schema of job files, for an editor that completes and checks them.

    Save it beside the files and begin each with the line
    `# yaml-language-server: $schema=job.schema.json`; `kronforce job init` does both.
    """
    sys.stdout.write(text())
