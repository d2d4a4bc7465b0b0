"""What a variable must satisfy, when it expires, and what whoever saves it should know.

Pure. Fields are named as people write them; each description completes
"field: …" with what is wrong and the way out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from kronforce.core.names import group_name_problem

Problem = tuple[str, str]

NAME_MAX = 100
VALUE_BYTES_MAX = 64 << 10
DESCRIPTION_MAX = 1_000
GROUPS_MAX = 1_000
DAYS_MAX = 3_650

# Every controller holds all of them in memory, so that an assignment never waits for the store.
VARIABLES_MAX = 10_000
TOTAL_BYTES_MAX = 64 << 20

# A secret below this many bytes is not masked: it would stain too much of what is no secret.
MASKED_FROM = 4
# Shorter than this even what base64 makes of it is left alone.
DERIVED_FROM = 5

SECOND = 1_000_000
DAY = 86_400 * SECOND

# How long before the end each event comes; the last is the end itself.
STAGES = (14 * DAY, 3 * DAY, 1 * DAY, 0)

_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


def name_problem(name: str) -> str | None:
    """1–100 letters, digits and underscores."""
    if not name:
        return "is required"
    if len(name) > NAME_MAX:
        return f"is {len(name)} characters long; at most {NAME_MAX}"
    if not _NAME.fullmatch(name):
        return f"{name!r} cannot be named in a task; use letters, digits and _ only"
    return None


def value_problems(value: str) -> Iterator[Problem]:
    """At most 64 KiB of UTF-8 without NUL, which no environment takes."""
    size = len(value.encode())
    if size > VALUE_BYTES_MAX:
        yield "value", f"is {size:,} bytes; at most {VALUE_BYTES_MAX:,}"
    if "\0" in value:
        yield "value", "must not contain a NUL character"


def other_problems(description: str, allowed_groups: Collection[str]) -> Iterator[Problem]:
    """What is wrong with the rest of it."""
    if len(description) > DESCRIPTION_MAX:
        yield "description", f"is {len(description):,} characters long; at most {DESCRIPTION_MAX:,}"
    if len(allowed_groups) > GROUPS_MAX:
        yield "allowed_groups", f"has {len(allowed_groups):,} groups; at most {GROUPS_MAX:,}"
    for place, group in enumerate(allowed_groups):
        if problem := group_name_problem(group):
            yield f"allowed_groups[{place}]", problem


def days_problem(days: int) -> str | None:
    """1–3,650 days from now."""
    if not 1 <= days <= DAYS_MAX:
        return f"is {days:,}; from 1 to {DAYS_MAX:,}"
    return None


def stages_passed(expires_at: int, now: int) -> int:
    """How many of the stages before the end, the end included, lie behind."""
    return sum(expires_at - ahead <= now for ahead in STAGES)


def warnings_about(value: str, *, secret: bool) -> list[str]:
    """What is taken, and yet not what its author may expect."""
    found: list[str] = []
    if secret:
        found += _masking_gaps(value)
    if "{{" in value:
        found.append("it holds {{, which stays as it stands: a value is never looked at again")
    return found


def _masking_gaps(value: str) -> Iterator[str]:
    size = len(value.encode())
    if size < MASKED_FROM:
        yield f"it is shorter than {MASKED_FROM} bytes, so it is not masked in output"
        return
    if size < DERIVED_FROM:
        yield f"it is shorter than {DERIVED_FROM} bytes, so its base64 form is not masked in output"
    lines = value.splitlines()
    if len(lines) > 1 and any(0 < len(line.encode()) < MASKED_FROM for line in lines):
        yield (
            f"some of its lines are shorter than {MASKED_FROM} bytes; one that is printed by"
            " itself is not masked"
        )
