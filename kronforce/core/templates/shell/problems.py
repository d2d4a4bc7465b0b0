"""Why a placeholder cannot stand where it stands, and the way out, for the person who wrote it."""

from __future__ import annotations

Problem = str

BACKTICKS = "inside `…`, where quotes change their meaning; write $(…) instead of the backticks"
ARITHMETIC = (
    "in shell arithmetic, where a value would be evaluated; assign it in a line before "
    "(N={{NAME}}), check that it is a number (case $N in ''|*[!0-9]*) exit 2;; esac), then write "
    "$N there"
)
QUOTED_HEREDOC = (
    "in a here-document with a quoted delimiter, where the shell puts nothing in; take the quotes "
    "off the delimiter (and write \\$ and \\` for those that are to stay), or keep the text in a "
    "file on the host"
)
SECOND_SHELL = (
    "in what eval or another shell reads as source, where a value could run as a command; hand it "
    "over as data (sh -c 'rm -- \"$1\"' _ {{NAME}}), or, if it is to be source, assign it in a "
    'line before (V={{NAME}}) and use "$V" there'
)
DOUBLE_BRACKETS = (
    "inside [[ … ]], where bash may evaluate it; use [ … ] or case, or assign it in a line before "
    '(V={{NAME}}), check it, and use "$V" there'
)
NAME = (
    "where the name of a variable is expected, which bash evaluates; use a fixed name, or assign "
    'it in a line before (V={{NAME}}), check it, and use "$V" there'
)
OF_WORDS = frozenset((SECOND_SHELL, DOUBLE_BRACKETS, NAME))
"""What a command makes of its own words; what stands in a `$(…)` among them is read before."""
DELIMITER = "in the delimiter of a here-document; use a fixed word there"
ANSI_QUOTES = "inside $'…', which sh does not have everywhere; use '…' or \"…\""
EXPANSION = (
    "inside ${…} at a place where sh takes no value; assign it in a line before (V={{NAME}}) and "
    "use $V there"
)
UNCLEAR = (
    "after a piece of this command ({piece}) that one shell reads differently than another; write "
    "that piece in another way, or assign the value in a line before it (V={{NAME}}) and use "
    '"$V" here'
)
TOO_DEEP = "nests substitutions more than {limit} deep; take it apart, or keep it in a script file"


def stands(placeholder: str, line: int, where: str) -> Problem:
    return f"{placeholder} in line {line} stands {where}"
