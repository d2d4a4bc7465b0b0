"""`completion`: scripts for bash, zsh and fish that offer verbs, flags and live names.

The scripts ask `kronforce completion words -- …` for what fits, so that they never grow old. That
answer must be quick and silent: a server that is away means no names, never an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from kronforce.cli.session import Session
from kronforce.cli.settings import FORMATS, Settings, UsageError, split_settings
from kronforce.cli.tree import ALONE, NOUNS
from kronforce_client import Client, ClientError

# A person waits for the tab key: better no names than a pause.
_TIMEOUT_SECS = 1.0
_MOST = 200

_BASH = """\
_kronforce() {
  local words
  words="$(kronforce completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _kronforce kronforce
"""
_ZSH = """\
#compdef kronforce
_kronforce() {
  local -a found
  found=("${(@f)$(kronforce completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _kronforce kronforce
"""
_FISH = """\
complete -c kronforce -f -a \
'(kronforce completion words -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
complete -c kronforce -n '__fish_seen_subcommand_from apply validate' -F
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_NAMES_OF = {
    ("job", "get"): "jobs",
    ("job", "delete"): "jobs",
    ("job", "run"): "jobs",
    ("job", "pause"): "jobs",
    ("job", "resume"): "jobs",
    ("job", "next"): "jobs",
    ("job", "fires"): "jobs",
    ("run", "get"): "runs",
    ("run", "logs"): "runs",
    ("run", "watch"): "runs",
    ("run", "cancel"): "runs",
    ("agent", "get"): "agents",
    ("agent", "set"): "agents",
    ("agent", "drain"): "agents",
    ("agent", "delete"): "agents",
    ("group", "rename"): "groups",
    ("group", "delete"): "groups",
    ("group", "assign"): "groups",
    ("key", "revoke"): "keys",
    ("webhook", "enable"): "jobs",
    ("webhook", "get"): "jobs",
    ("webhook", "rotate"): "jobs",
    ("webhook", "disable"): "jobs",
    ("variable", "get"): "variables",
    ("variable", "set"): "variables",
    ("variable", "delete"): "variables",
}


def completion(
    shell: Literal["bash", "zsh", "fish", "words"],
    /,
    *words: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Print a completion script: eval "$(kronforce completion bash)".

    Parameters
    ----------
    shell
        bash, zsh or fish; "words" is what the scripts ask.
    words
        The line so far, for "words".
    """
    if shell in _SCRIPTS:
        print(_SCRIPTS[shell], end="")
        return
    for word in fitting(words):
        print(word)


def fitting(words: Sequence[str]) -> list[str]:
    """What may stand where the last word is being typed."""
    before, typed = list(words[:-1]), words[-1] if words else ""
    if before[-1:] in (["-o"], ["--output"]):
        return list(FORMATS)
    try:
        settings, rest = split_settings(before)
    except UsageError:
        return []  # a flag's value is being typed
    plain = [word for word in rest if not word.startswith("-")]
    if not plain:
        offered = [*NOUNS, *ALONE]
    elif plain[0] in NOUNS and len(plain) == 1:
        offered = list(NOUNS[plain[0]][1])
    elif len(plain) == 2:
        offered = _names(settings, _NAMES_OF.get((plain[0], plain[1]), ""))
    else:
        offered = []
    return [word for word in offered if word.startswith(typed)]


def _names(settings: Settings, kind: str) -> list[str]:
    if not kind:
        return []
    session = Session(settings=settings)
    try:
        with Client(connection=session.connection(), timeout_secs=_TIMEOUT_SECS) as client:
            return _fetch(client, kind)
    except (ClientError, LookupError, OSError):
        return []


def _fetch(client: Client, kind: str) -> list[str]:
    if kind == "jobs":
        return [job.name for job in client.jobs.page(page_size=_MOST).jobs]
    if kind == "agents":
        return [agent.name for agent in client.agents.page(page_size=_MOST).agents]
    if kind == "groups":
        return [group.name for group in client.groups.page().groups]
    if kind == "variables":
        return [each.name for each in client.variables.page(page_size=_MOST).variables]
    if kind == "keys":
        return [key.name for key in client.keys.page(page_size=_MOST).keys]
    runs = client.runs.page(page_size=20).runs
    return ["@last", *(run.id for run in runs), *sorted({run.job_name for run in runs})]
