"""Each recipe of docs/recipes.md, run beside a real server: it prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.rig.tour import CHECKOUT, START_LIMIT_SECS, Tour

PAGE = (CHECKOUT / "docs" / "recipes.md").read_text(encoding="utf-8")
LIMIT_SECS = 60

pytestmark = pytest.mark.timeout(START_LIMIT_SECS + LIMIT_SECS)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    made = Tour(tmp_path_factory.mktemp("recipes"))
    yield made
    made.stop()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A section's program, and what it prints."""

    title: str
    program: str
    prints: str


def recipes() -> list[Recipe]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        programs = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        printed = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        title = section.split("\n", 1)[0]
        assert len(programs) == len(printed) == 1, title
        found.append(Recipe(title=title, program=programs[0], prints=printed[0]))
    return found


@pytest.mark.parametrize("recipe", recipes(), ids=lambda each: each.title)
def test_a_recipe_prints_what_the_page_says(beside: Tour, tmp_path: Path, recipe: Recipe) -> None:
    program = tmp_path / "recipe.py"
    program.write_text(recipe.program)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        env=beside.environ,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, recipe.prints), done.stderr
