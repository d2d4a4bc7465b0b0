"""Words of one command list: enough to know `case … esac`, whose patterns end with a bare `)`.

A reserved word counts only where a command may begin, unquoted and whole. Everything else of the
grammar is of no interest here: an error in it is the shell's to report.
"""

from __future__ import annotations

from enum import Enum

from kronforce.core.templates.shell.evaluated import Evaluated

OPENING = frozenset(
    ("if", "then", "else", "elif", "fi", "do", "done", "while", "until", "{", "}", "!", "time")
)
"""After these another reserved word may follow at once."""


class _Case(Enum):
    SUBJECT = "the word after case"
    IN = "its `in`"
    PATTERN = "patterns, up to a `)`"
    BODY = "commands, up to `;;` or esac"


class Words:
    """Told of every word and operator in order."""

    def __init__(self) -> None:
        self.started = False
        """Whether a word has begun that goes on here: a `#` is no comment then."""
        self._plain = ""
        self.evaluated = Evaluated()
        self._quoted = False
        self._may_begin = True
        self._cases: list[_Case] = []
        self._first = False

    @property
    def in_pattern(self) -> bool:
        return bool(self._cases) and self._cases[-1] is _Case.PATTERN

    @property
    def pattern_begins(self) -> bool:
        """Where a pattern may have its own `(`."""
        return self.in_pattern and self._first and not self.started

    def plain(self, text: str) -> None:
        """Unquoted characters of a word."""
        self.started = True
        self._plain += text

    def other(self) -> None:
        """Quotes, expansions, escapes: part of a word, and no reserved word then."""
        self.started = self._quoted = True

    def end(self) -> None:
        """A blank or an operator: the word before it, if there is one, is complete."""
        if self.started:
            word = "" if self._quoted else self._plain
            self.started, self._quoted, self._plain = False, False, ""
            self._ended(word)

    def operator(self) -> None:
        """`;`, `&`, `|`, `(`, newline and the like: a command may begin."""
        self.end()
        self._command_may_begin()

    def redirection(self) -> None:
        self.end()
        self._may_begin = False

    def pattern_opened(self) -> None:
        self._first = False

    def pattern_ended(self) -> None:
        self._cases[-1] = _Case.BODY
        self._command_may_begin()

    def branch_ended(self) -> None:
        """`;;` or one of bash's relatives of it."""
        self.operator()
        if self._cases and self._cases[-1] is _Case.BODY:
            self._begin_pattern()

    def _ended(self, word: str) -> None:
        state = self._cases[-1] if self._cases else None
        if state is _Case.SUBJECT:
            self._cases[-1] = _Case.IN
        elif state is _Case.IN:
            if word == "in":
                self._begin_pattern()
        elif state is _Case.PATTERN:
            if word == "esac" and self._first:
                self._end_case()
            self._first = False
        else:
            self._command_word(word)

    def _command_word(self, word: str) -> None:
        begins, self._may_begin = self._may_begin, self._may_begin and word in OPENING
        if not self._may_begin:
            self.evaluated.word(word)
        if begins and word == "case":
            self._cases.append(_Case.SUBJECT)
        elif begins and word == "esac" and self._cases:
            self._end_case()

    def _begin_pattern(self) -> None:
        self._cases[-1] = _Case.PATTERN
        self._first = True

    def _end_case(self) -> None:
        self._cases.pop()
        self._command_may_begin()

    def _command_may_begin(self) -> None:
        self._may_begin = True
        self.evaluated.begin()
