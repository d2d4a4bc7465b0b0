"""A broken build: a copy of the product's packages in which some texts are replaced.

The product has no hooks for this. A text that is not found, or found twice, is an error: then the
product has changed, and whoever changed it says anew how it breaks.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Where each package lies, as an editable install has them on its path.
PACKAGES = {
    "kronforce": ".",
    "kronforce_agent": "agent",
    "kronforce_client": "clients/python",
    "kronforce_egress": "egress",
    "kronforce_gateway": "gateway",
    "kronforce_redaction": "redaction",
}
POWER = ROOT / "tests" / "system" / "rig" / "power"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """`old` in this file, which has it exactly once, becomes `new`."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        found = text.count(self.old)
        if found != 1:
            raise AssertionError(f"{self.file} has this {found} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


def build(folder: Path, edits: tuple[Edit, ...]) -> tuple[Path, ...]:
    """Copy the packages, break them; what to put on a process's path."""
    for name, where in PACKAGES.items():
        # With what is compiled of them: it is valid as long as a file is as old and as long.
        shutil.copytree(ROOT / where / name, folder / where / name)
    for edit in edits:
        path = folder / edit.file
        path.write_text(edit.applied(path.read_text()))
    return (POWER, *(folder / where for where in PACKAGES.values()))


def check(edits: tuple[Edit, ...]) -> None:
    """Raise where `build` would, in order, without copying anything."""
    texts: dict[str, str] = {}
    for edit in edits:
        text = texts.get(edit.file) or (ROOT / edit.file).read_text()
        texts[edit.file] = edit.applied(text)
