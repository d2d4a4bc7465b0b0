"""Reads a command once, from left to right, one method for each kind of surroundings.

Each method starts behind what opened it and leaves `_at` behind what closes it; what is never
closed ends with the command, and the shell will say so. `_refusal` is set while something is read
in which no placeholder may stand, `_unclear` from the first piece on that shells disagree about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kronforce.core.templates.placeholder import PLACEHOLDER, Placeholder, find_placeholders
from kronforce.core.templates.quoting import Quoting, Slot
from kronforce.core.templates.shell import problems
from kronforce.core.templates.shell.heredocs import Heredoc, find_end, read_announcement
from kronforce.core.templates.shell.problems import Problem
from kronforce.core.templates.shell.words import Words

MAX_DEPTH = 50
"""Substitutions within each other; each takes a few frames of Python's stack."""
MAX_PROBLEMS = 10
"""In one answer; who mends ten sees the rest."""

_PLAIN = re.compile(r"""[^\s\\'"$`#()<>;&|{]+""")
_QUOTED_PLAIN = re.compile(r"""[^\\"$`{}']+""")
_PARAMETER = re.compile(r"[#!]?(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-])?")
_WORD_OPERATOR = re.compile(r":?[-=?+]")
_PATTERN_OPERATOR = re.compile(r"##?|%%?")
_SPECIAL = frozenset("#$*@?!-0123456789")


def read_command(command: str) -> tuple[tuple[Slot, ...], list[Problem]]:
    """Every placeholder that the shell would see, and what is wrong with any of them."""
    scanner = _Scanner(command)
    scanner.read()
    return tuple(scanner.slots), scanner.problems[:MAX_PROBLEMS]


class _TooDeep(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self.slots: list[Slot] = []
        self.problems: list[Problem] = []
        self._text = text
        self._at = 0
        self._end = len(text)
        self._depth = 0
        self._refusal = ""
        self._unclear = ""
        self._heredocs: list[Heredoc] = []

    def read(self) -> None:
        try:
            self._commands(closes=False)
        except _TooDeep:
            self.problems = [problems.TOO_DEEP.format(limit=MAX_DEPTH)]

    # ---- commands ------------------------------------------------------------------------------

    def _commands(self, *, closes: bool) -> None:
        """A list of commands; up to its `)` where it `closes`."""
        words = Words()
        with self._deeper():
            while self._at < self._end:
                char = self._text[self._at]
                if char == ")" and self._ends_commands(words, closes):
                    return
                if char in " \t":
                    self._at += 1
                    words.end()
                elif char in "\n;&|()<>":
                    self._operator(char, words)
                elif char == "#" and not words.started:
                    self._at = self._find("\n")
                else:
                    self._word_part(char, words)

    def _ends_commands(self, words: Words, closes: bool) -> bool:
        words.end()
        if words.in_pattern:
            self._at += 1
            words.pattern_ended()
            return False
        self._at += 1
        words.operator()
        return closes

    def _operator(self, char: str, words: Words) -> None:
        if char == "\n":
            self._at += 1
            words.operator()
            self._read_heredocs()
        elif char == ";":
            self._semicolon(words)
        elif char == "(":
            self._parenthesis(words)
        elif char in "<>":
            self._redirection(words)
        elif char in "&|":
            self._at += 1
            words.operator()

    def _semicolon(self, words: Words) -> None:
        words.end()
        following = self._text[self._at + 1 : self._at + 2]
        if following and following in ";&":
            self._at += 2
            words.branch_ended()
        else:
            self._at += 1
            words.operator()

    def _parenthesis(self, words: Words) -> None:
        words.end()
        if words.pattern_begins:
            self._at += 1
            words.pattern_opened()
        elif self._text.startswith("((", self._at):
            self._at += 2
            self._arithmetic("((")
            words.operator()
        else:
            self._at += 1
            with self._refusing(words.evaluated.refusal):
                self._commands(closes=True)
            words.operator()

    def _redirection(self, words: Words) -> None:
        words.redirection()
        if self._text.startswith("<<<", self._at):
            self._at += 3
        elif self._text.startswith("<<", self._at):
            self._at += 2
            self._announce_heredoc(source=words.evaluated.reads_input)
        else:
            self._at += 1
            if self._text.startswith(("&", "|", ">"), self._at):
                self._at += 1

    def _word_part(self, char: str, words: Words) -> None:
        plain = _PLAIN.match(self._text, self._at, self._end)
        if plain:
            self._at = plain.end()
            words.plain(plain[0])
        elif self._text.startswith("\\\n", self._at):
            self._at += 2  # as if neither were there: what follows may still be a comment
        elif char in "{#\r\f\v" and not self._placeholder_here():
            self._at += 1
            words.plain(char)
        else:
            words.other()
            with self._refusing(words.evaluated.refusal):
                self._bare(char)

    def _bare(self, char: str) -> None:
        """What may stand in a word outside of quotes, beside plain characters."""
        if char == "\\":
            self._at += 2
        elif char == "'":
            self._single_quotes()
        elif char == '"':
            self._double_quotes()
        elif char == "$":
            self._dollar(quoted=False)
        elif char == "`":
            self._backticks()
        elif found := self._placeholder_here():
            self._take(found, Quoting.BARE)
        else:
            self._at += 1

    # ---- quotes --------------------------------------------------------------------------------

    def _single_quotes(self) -> None:
        start, self._at = self._at + 1, self._find("'", self._at + 1)
        for found in find_placeholders(self._text, start, self._at):
            self._add(found, Quoting.SINGLE)
        self._at += 1

    def _double_quotes(self) -> None:
        self._at += 1
        while self._at < self._end:
            if self._text[self._at] == '"':
                self._at += 1
                return
            self._quoted(self._text[self._at], escapable='$`"\\\n')

    def _quoted(self, char: str, *, escapable: str) -> None:
        """One piece of what is expanded and not split: in double quotes or a here-document."""
        if char == "\\":
            self._backslash(escapable)
        elif char == "$":
            self._dollar(quoted=True)
        elif char == "`":
            self._backticks()
        elif found := self._placeholder_here():
            self._take(found, Quoting.DOUBLE)
        else:
            plain = _QUOTED_PLAIN.match(self._text, self._at, self._end)
            self._at = plain.end() if plain else self._at + 1

    def _backslash(self, escapable: str) -> None:
        self._at += 1
        if self._at < self._end and self._text[self._at] in escapable:
            self._at += 1
        elif found := self._placeholder_here():
            self._take(found, Quoting.AFTER_BACKSLASH)

    def _backticks(self) -> None:
        start = self._at + 1
        self._at = self._find_unescaped("`", start)
        with self._refusing(problems.BACKTICKS):
            self._refuse_all(start, self._at)
        self._at += 1

    # ---- expansions ----------------------------------------------------------------------------

    def _dollar(self, *, quoted: bool) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if self._text.startswith("$((", self._at):
            self._at += 3
            self._arithmetic("$((")
        elif following == "(":
            self._at += 2
            self._substitution()
        elif following == "{":
            self._at += 2
            self._parameter(quoted)
        elif following == "[":
            self._old_arithmetic()
        elif following == "'" and not quoted:
            self._ansi_quotes()
        elif following in _SPECIAL and following:
            self._at += 2
        else:
            self._at += 1

    def _substitution(self) -> None:
        """`$(…)`. Its here-documents are its own; its words this shell reads, before any other."""
        start = self._at
        outer, self._heredocs = self._heredocs, []
        refusal = self._refusal
        self._refusal = "" if refusal in problems.OF_WORDS else refusal
        self._commands(closes=True)
        self._refusal = refusal
        if self._heredocs or (outer and "\n" in self._text[start : self._at]):
            self._unclear = self._unclear or "a here-document that begins or ends within $(…)"
        self._heredocs = outer + self._heredocs

    def _arithmetic(self, opening: str) -> None:
        """Up to the `)` of each of the two, whatever stands between: `$((a) | b)` ends so too."""
        open_ones = 2
        start = self._at
        with self._deeper(), self._refusing(problems.ARITHMETIC):
            while self._at < self._end and open_ones:
                char = self._text[self._at]
                if char in "()":
                    open_ones += 1 if char == "(" else -1
                    self._at += 1
                else:
                    self._bare(char)
        if opening == "((" and "<<" in self._text[start : self._at]:
            self._unclear = self._unclear or "(( with << in it"

    def _old_arithmetic(self) -> None:
        """`$[…]`: arithmetic in bash, a file name pattern in sh."""
        start, self._at = self._at + 2, self._find("]", self._at)
        with self._refusing(problems.ARITHMETIC):
            self._refuse_all(start, self._at)
        self._at = start

    def _ansi_quotes(self) -> None:
        start = self._at + 2
        self._at = self._find_unescaped("'", start)
        with self._refusing(problems.ANSI_QUOTES):
            self._refuse_all(start, self._at)
        if "\\'" in self._text[start : self._at]:
            self._unclear = self._unclear or "$'…' with \\' in it"
        self._at += 1

    def _parameter(self, quoted: bool) -> None:
        """`${name…}`: quotes in a pattern stand for themselves, in a default word they do not."""
        self._passes(_PARAMETER)
        with self._deeper():
            if self._passes(_WORD_OPERATOR):
                self._quoted_word() if quoted else self._bare_word()
            elif self._passes(_PATTERN_OPERATOR):
                self._bare_word()
            else:
                with self._refusing(problems.EXPANSION):
                    self._bare_word()

    def _passes(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self._text, self._at, self._end)
        self._at = match.end() if match else self._at
        return match is not None

    def _bare_word(self) -> None:
        while self._at < self._end:
            char = self._text[self._at]
            if char == "}":
                self._at += 1
                return
            self._bare(char)

    def _quoted_word(self) -> None:
        """The word of `"${name:-word}"`; quotes inside it are the shells' own affair."""
        inner = False
        while self._at < self._end:
            char = self._text[self._at]
            if char == "}":
                self._at += 1
                if not inner:
                    return
                self._unclear = self._unclear or 'a } in quotes inside "${…}"'
            elif char == '"':
                inner = not inner
                self._at += 1
            else:
                self._quoted(char, escapable='$`"\\\n}')

    # ---- here-documents ------------------------------------------------------------------------

    def _announce_heredoc(self, *, source: bool) -> None:
        announced = read_announcement(self._text, self._at, source=source)
        if announced is None:
            return
        heredoc, start, self._at = announced
        with self._refusing(problems.DELIMITER):
            self._refuse_all(start, self._at)
        self._heredocs.append(heredoc)

    def _read_heredocs(self) -> None:
        waiting, self._heredocs = self._heredocs, []
        for heredoc in waiting:
            body_end, after = find_end(self._text, self._at, self._end, heredoc)
            if heredoc.expands:
                with self._refusing(problems.SECOND_SHELL if heredoc.source else ""):
                    self._expanded_text(body_end)
            else:
                with self._refusing(problems.QUOTED_HEREDOC):
                    self._refuse_all(self._at, body_end)
            self._at = after

    def _expanded_text(self, body_end: int) -> None:
        outer_end, self._end = self._end, body_end
        while self._at < self._end:
            self._quoted(self._text[self._at], escapable="$`\\\n")
        self._end = outer_end

    # ---- placeholders --------------------------------------------------------------------------

    def _placeholder_here(self) -> Placeholder | None:
        match = PLACEHOLDER.match(self._text, self._at, self._end)
        if match is None:
            return None
        return Placeholder(start=match.start(), end=match.end(), name=match[1])

    def _take(self, found: Placeholder, quoting: Quoting) -> None:
        self._add(found, quoting)
        self._at = found.end

    def _add(self, found: Placeholder, quoting: Quoting) -> None:
        refusal = self._refusal
        if self._unclear and not refusal:
            refusal = problems.UNCLEAR.replace("{piece}", self._unclear)
        if refusal:
            line = self._text.count("\n", 0, found.start) + 1
            written = self._text[found.start : found.end]
            self.problems.append(problems.stands(written, line, refusal))
        self.slots.append(Slot(at=found, quoting=quoting))

    def _refuse_all(self, start: int, end: int) -> None:
        for found in find_placeholders(self._text, start, end):
            self._add(found, Quoting.BARE)

    @contextmanager
    def _refusing(self, refusal: str) -> Iterator[None]:
        outer, self._refusal = self._refusal, self._refusal or refusal
        yield
        self._refusal = outer

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep
        yield
        self._depth -= 1

    # ---- finding -------------------------------------------------------------------------------

    def _find(self, char: str, start: int | None = None) -> int:
        """Where it is next, or the end."""
        at = self._text.find(char, self._at if start is None else start, self._end)
        return at if at >= 0 else self._end

    def _find_unescaped(self, char: str, start: int) -> int:
        at = start
        while at < self._end and self._text[at] != char:
            at += 2 if self._text[at] == "\\" else 1
        return min(at, self._end)
