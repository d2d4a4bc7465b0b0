"""Which words of a simple command are evaluated once more: as source, as arithmetic, as a name.

What `eval`, `trap` or `sh -c` gets is read as a command; `let` and `[[` calculate, and in bash a
calculation, as the name of a variable does, may run what stands in its brackets. It finds what
people write by mistake, not what somebody hides: a command by the name of a variable, over ssh or
behind a pipe is not seen.
"""

from __future__ import annotations

import re

from kronforce.core.templates.shell import problems

_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"))
# They hand what follows `-c` to a shell, wherever that stands.
_STARTERS = frozenset(("su", "runuser", "sg", "flock", "script"))
# Commands all of whose words are evaluated.
_ALL_WORDS = {
    "eval": problems.SECOND_SHELL,
    "trap": problems.SECOND_SHELL,
    "alias": problems.SECOND_SHELL,
    "let": problems.ARITHMETIC,
    "[[": problems.DOUBLE_BRACKETS,
    "unset": problems.NAME,
    "read": problems.NAME,
}
# Commands an option of which makes what follows evaluated: all of it, or the next word.
_OPTIONS = {
    "declare": (re.compile(r"-\w*i\w*\Z"), problems.ARITHMETIC),
    "typeset": (re.compile(r"-\w*i\w*\Z"), problems.ARITHMETIC),
    "local": (re.compile(r"-\w*i\w*\Z"), problems.ARITHMETIC),
    "printf": (re.compile(r"-v\Z"), problems.NAME),
    "test": (re.compile(r"-[vR]\Z"), problems.NAME),
    "[": (re.compile(r"-[vR]\Z"), problems.NAME),
}
_BEFORE_A_COMMAND = frozenset(("exec", "command", "builtin"))
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_TAKES_SOURCE = re.compile(r"-[A-Za-z]*c[A-Za-z]*\Z|--(?:session-)?command\Z")
_TAKES_NAME = re.compile(r"[-+][A-Za-z]*[oO]\Z")


class Evaluated:
    """Told of the words of one simple command in order; a quoted word is ""."""

    def __init__(self) -> None:
        self.refusal = ""
        """Why no placeholder may stand in the next word; empty: it may."""
        self._all_words = False
        self._reset()

    def begin(self) -> None:
        """A command may begin; not within `[[ … ]]`, where `&&` and `(` stand for themselves."""
        if self.refusal != problems.DOUBLE_BRACKETS:
            self._reset()

    def _reset(self) -> None:
        self.refusal = ""
        self._all_words = False
        self._command = ""
        self._shell = ""
        self._begins = True
        self._name_follows = False

    @property
    def reads_input(self) -> bool:
        """Whether a shell was named that has no script yet: it reads standard input."""
        return self._shell in _SHELLS and not self.refusal

    def word(self, word: str) -> None:
        """The next word is complete."""
        if self._all_words:
            if word == "]]" and self._command == "[[":
                self._reset()
            return
        name = word.rpartition("/")[2]
        if self.refusal:
            self.refusal, self._shell = "", ""
        elif self._shell:
            self._argument(word)
        elif self._command:
            self._option(word)
        elif self._begins and word in _ALL_WORDS:
            self._command, self._all_words, self.refusal = word, True, _ALL_WORDS[word]
        elif self._begins and word in _OPTIONS:
            self._command = word
        elif name in _SHELLS or name in _STARTERS:
            self._shell = name
        if not (_ASSIGNMENT.match(word) or word in _BEFORE_A_COMMAND):
            self._begins = False

    def _option(self, word: str) -> None:
        option, refusal = _OPTIONS[self._command]
        if option.match(word):
            self.refusal = refusal
            self._all_words = refusal == problems.ARITHMETIC

    def _argument(self, word: str) -> None:
        if self._name_follows:
            self._name_follows = False
        elif _TAKES_SOURCE.match(word):
            self.refusal = problems.SECOND_SHELL
        elif _TAKES_NAME.match(word):
            self._name_follows = True
        elif not word.startswith(("-", "+")) and self._shell in _SHELLS:
            self._shell = ""  # a script's file: what follow are its arguments
