"""What things may be called.

Every function answers None for a good name, or a sentence that completes
"name: …" and says what to change. A name must never be taken for an id or for
a literal of a path, because every `*_id` input takes either.
"""

from __future__ import annotations

import re

from kronforce.core.ids import from_text

JOB_NAME_MAX = 200
AGENT_NAME_MAX = 100
GROUP_NAME_MAX = 50
TAG_MAX = 100
TAGS_MAX = 64
LABEL_KEY_MAX = 100
LABEL_VALUE_MAX = 100
LABELS_MAX = 64

DEFAULT_GROUP = "Default"

# What an agent reports of itself; never set by people, so that a rogue agent cannot pose.
FACT_PREFIX = "fact."

# Segments that stand, or will stand, where a path has `{id}`: a thing of that name could not
# be reached over HTTP. Kept short on purpose: `export` and `import` are good names for jobs.
RESERVED = frozenset(
    {
        "bulk",
        "groups",
        "health-check",
        "join-tokens",
        "preview",
        "register",
        "rename-group",
        "task-types",
        "trigger",
        "triggers",
        "watch",
    }
)
_RESERVED_PREFIX = "bulk-"

_GROUP = re.compile(r"[A-Za-z0-9 _-]+")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
# The selector grammar's own characters stay out of values, so that each can be selected.
_SELECTOR_SIGNS = frozenset(",()=!")


def job_name_problem(name: str) -> str | None:
    """1–200 printable characters, neither an id nor a path's literal."""
    return _named_thing_problem(name, JOB_NAME_MAX)


def agent_name_problem(name: str) -> str | None:
    """As jobs, up to 100 characters."""
    return _named_thing_problem(name, AGENT_NAME_MAX)


def group_name_problem(name: str) -> str | None:
    """1–50 letters, digits, spaces, hyphens and underscores."""
    problem = _text_problem(name, GROUP_NAME_MAX)
    if problem is None and not _GROUP.fullmatch(name):
        return "use letters, digits, spaces, hyphens and underscores only"
    return problem


def tag_problem(tag: str) -> str | None:
    """1–100 printable characters without a comma, which separates tags in filters."""
    problem = _text_problem(tag, TAG_MAX)
    if problem is None and "," in tag:
        return "must not contain a comma, which separates tags"
    return problem


def label_key_problem(key: str) -> str | None:
    """1–100 letters, digits, `.`, `_`, `/`, `-`; `fact.` is what agents report."""
    if problem := _text_problem(key, LABEL_KEY_MAX):
        return problem
    if not _LABEL_KEY.fullmatch(key):
        return "use letters, digits and . _ / - inside, for example team/os"
    if key.startswith(FACT_PREFIX):
        return f"{FACT_PREFIX}* labels are reported by agents; choose another prefix"
    return None


def label_value_problem(value: str) -> str | None:
    """Up to 100 printable characters, none of `, ( ) = !`; may be empty."""
    if not value:
        return None
    if problem := _text_problem(value, LABEL_VALUE_MAX):
        return problem
    if _SELECTOR_SIGNS.intersection(value):
        return "must not contain , ( ) = or !, which have a meaning in selectors"
    return None


def _named_thing_problem(name: str, longest: int) -> str | None:
    if problem := _text_problem(name, longest):
        return problem
    if from_text(name) is not None:
        return "looks like an id; choose a name that is not shaped like a UUID"
    if name.lower() in RESERVED or name.lower().startswith(_RESERVED_PREFIX):
        return f"{name!r} is a word of the API's own paths; choose another"
    return None


def _text_problem(text: str, longest: int) -> str | None:
    if not text:
        return "is required"
    if len(text) > longest:
        return f"is {len(text)} characters long; at most {longest}"
    if text != text.strip():
        return "must not begin or end with a space"
    if not text.isprintable():
        return "must not contain control characters or line breaks"
    return None
