"""Which words of a simple command another shell reads as source: of `eval`, and after `sh -c`.

It finds what people write by mistake, not what somebody hides: a shell by the name of a variable,
over ssh or behind a pipe is not seen.
"""

from __future__ import annotations

import re

SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "su"))

_BEFORE_A_COMMAND = frozenset(("exec", "command", "builtin"))
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_TAKES_SOURCE = re.compile(r"-[A-Za-z]*c[A-Za-z]*\Z|--command\Z")
_TAKES_NAME = re.compile(r"[-+][A-Za-z]*[oO]\Z")


class SecondShell:
    """Told of the words of one simple command in order; a quoted word is ""."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A command may begin."""
        self.reads_word = False
        """Whether the next word is source to another shell."""
        self._evaluates = False
        self._shell = ""
        self._begins = True
        self._name_follows = False

    @property
    def reads_input(self) -> bool:
        """Whether a shell was named that has no script yet: it reads standard input."""
        return self._shell not in ("", "su") and not self.reads_word

    def word(self, word: str) -> None:
        """The next word is complete."""
        if self._evaluates:
            return
        if self.reads_word:
            self.reads_word, self._shell = False, ""
        elif self._shell:
            self._argument(word)
        elif self._begins and word == "eval":
            self._evaluates = self.reads_word = True
        elif word.rpartition("/")[2] in SHELLS:
            self._shell = word.rpartition("/")[2]
        if not (_ASSIGNMENT.match(word) or word in _BEFORE_A_COMMAND):
            self._begins = False

    def _argument(self, word: str) -> None:
        if self._name_follows:
            self._name_follows = False
        elif _TAKES_SOURCE.match(word):
            self.reads_word = True
        elif _TAKES_NAME.match(word):
            self._name_follows = True
        elif not word.startswith(("-", "+")) and self._shell != "su":
            self._shell = ""  # a script's file: what follows are its arguments
