"""The checker is checked: what would break a promise is caught. Here the quickest of each side.

All of them, and a sound build under each provocation, are in `tests/chaos/test_broken_builds.py`.
"""

from pathlib import Path

import pytest

from tests.system.broken.builds import BUILDS, Broken
from tests.system.broken.edits import check
from tests.system.broken.provocations import PROVOCATIONS, provoke
from tests.system.checker.rules import RULES, judge

# A sound build needs a few; a broken one may never come to an end.
PATIENCE_SECS = 8.0
QUICKEST = (
    "a request id is not looked at",
    "what may have happened is run again whatever the job says",
)


@pytest.mark.parametrize("broken", [each for each in BUILDS if each.fault in QUICKEST], ids=str)
async def test_a_broken_build_is_caught(tmp_path: Path, broken: Broken) -> None:
    history = await provoke(tmp_path, "", broken.provocation, broken.edits, PATIENCE_SECS)
    findings = judge(history)
    assert broken.rule in {finding[1] for finding in findings}, findings


@pytest.mark.parametrize("broken", BUILDS, ids=str)
def test_a_broken_build_still_breaks_what_there_is(broken: Broken) -> None:
    check(PROVOCATIONS[broken.provocation].edits + broken.edits)


def test_every_rule_objects_to_some_build() -> None:
    assert {rule for rule, _ in RULES} == {broken.rule for broken in BUILDS}


def test_every_provocation_is_for_some_build() -> None:
    assert set(PROVOCATIONS) == {broken.provocation for broken in BUILDS}
