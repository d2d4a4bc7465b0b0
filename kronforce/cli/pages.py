"""The help pages of the command and of each noun, as text: they must be there at once.

The lists come from `tree.py`, the examples stand here. A verb's own help is the parser's.
"""

from __future__ import annotations

from collections.abc import Sequence

from kronforce import __version__
from kronforce.cli.tree import ALONE, NOUNS, Verbs

# What a terminal has where nobody made it wider.
WIDTH = 80
_VERBS_AT = 14

EXAMPLES = {
    "": """\
  kronforce up                              start a server here
  kronforce job init && kronforce job apply -f hello.yaml
  kronforce job run hello --follow          fire it and see its output
  kronforce run logs hello                  what its newest run wrote
""",
    "job": """\
  kronforce job apply -f jobs/              every file of a folder, diff first
  kronforce job run backup --param day=2026-11-20 --follow
  kronforce job pause backup --until 2026-12-01T06:00:00+01:00
  kronforce job next backup                 the next ten times, gaps and all
  kronforce job fires backup --at "2026-11-15 02:30"
  kronforce job list -o json
""",
    "run": """\
  kronforce run get @last                   the newest run, explained
  kronforce run logs backup -f              follow the newest run of a job
  kronforce run logs backup --grep error -i lines that match, with their numbers
  kronforce run diff 7f3a 91c0              what two runs wrote differently
  kronforce run cancel 7f3a                 ids may be shortened to their end
""",
    "group": """\
  kronforce group assign web site shop
  kronforce group rename web "front end"
  kronforce key create ci --role operator --group "front end"
""",
    "agent": """\
  kronforce agent token --tag gpu           prints what to paste on the new host
  kronforce agent set web-3 --group web     runs jobs of this group alone
  kronforce agent drain web-3
  kronforce agent drain web-3 --off
""",
    "variable": """\
  kronforce variable set REGION eu-west-1
  kronforce variable set DB_PASSWORD --secret --group Deploy < password.txt
  kronforce variable set DB_PASSWORD --expires-in-days 90
  kronforce variable list
""",
    "webhook": """\
  kronforce webhook enable build            prints the URL, and a curl line
  kronforce webhook enable deploy --hmac --body params
  kronforce webhook rotate build --yes
""",
    "key": """\
  kronforce key create ci --role operator --group Deploy
  kronforce key revoke ci --yes
  kronforce key reset-admin --data-dir /var/lib/kronforce
""",
    "db": """\
  kronforce db current --data-dir /var/lib/kronforce
  kronforce db migrate --db postgresql://kronforce@db/kronforce
""",
    "audit": """\
  kronforce audit list --operation 'job.*' --since 2026-11-20
  kronforce audit list --resource backup -o json
  kronforce audit verify                    ends with 1 where it was changed
""",
    "event": """\
  kronforce event tail -f --kind 'execution.*'
""",
}

FLAGS = """\
Everywhere:
  --address HOST:PORT   the server; also KRONFORCE_ADDRESS or `kronforce login`
  --key KEY             also KRONFORCE_KEY (better: others see a command line)
  --ca FILE, --insecure, --context NAME
  -o table|wide|json|jsonl|yaml|name
  --utc, --no-color, --quiet, --log-level LEVEL
"""


def page_for(words: Sequence[str]) -> str:
    """The page that the line asks for; empty when it asks for something else."""
    plain = [word for word in words if word not in ("--help", "-h")]
    asks = len(plain) < len(words)
    if not plain or plain == ["help"]:
        return _front()
    if plain[0] == "help" and plain[1:2] and plain[1] in NOUNS:
        return _noun(plain[1])
    if len(plain) == 1 and plain[0] in NOUNS and (asks or len(words) == 1):
        return _noun(plain[0])
    return ""


def version_line() -> str:
    """`kronforce 0.1.0`."""
    return f"kronforce {__version__}"


def print_version() -> None:
    """The version."""
    print(version_line())


def _front() -> str:
    nouns = "".join(_noun_line(noun, list(verbs)) for noun, (_, verbs) in NOUNS.items())
    return (
        "kronforce: jobs that run where and when they should.\n\n"
        f"Examples:\n{EXAMPLES['']}\nkronforce NOUN VERB:\n{nouns}\n"
        f"Also:\n{_list(ALONE)}\n{FLAGS}"
    )


def _noun(noun: str) -> str:
    summary, verbs = NOUNS[noun]
    return (
        f"kronforce {noun}: {summary}\n\nExamples:\n{EXAMPLES[noun]}\n"
        f"Verbs:\n{_list(verbs)}\nkronforce {noun} VERB --help tells a verb's flags.\n\n{FLAGS}"
    )


def _noun_line(noun: str, verbs: Sequence[str]) -> str:
    """A noun and its verbs, on as many lines as that takes."""
    lines = [""]
    for verb in verbs:
        word = verb if verb == verbs[-1] else f"{verb}, "
        if len(lines[-1]) + len(word.rstrip()) > WIDTH - _VERBS_AT:
            lines.append("")
        lines[-1] += word
    rest = "".join(f"{'':<{_VERBS_AT}}{line.rstrip()}\n" for line in lines[1:])
    return f"  {noun:<{_VERBS_AT - 2}}{lines[0].rstrip()}\n{rest}"


def _list(verbs: Verbs) -> str:
    width = max(12, *(len(verb) + 2 for verb in verbs))
    return "".join(f"  {verb:<{width}}{line}\n" for verb, (_, line) in verbs.items())
