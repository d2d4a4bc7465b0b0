"""Data to stdout, in the format that was asked for.

A terminal gets an aligned table, a pipe gets tab-separated lines with full ids and no header, and
`-o json` is the API's own form.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from kronforce.cli import table
from kronforce.cli.session import Session
from kronforce.cli.table import Gives
from kronforce_client import dialect

_BOLD, _RESET = "\x1b[1m", "\x1b[0m"
_GREEN, _CYAN, _YELLOW, _RED = "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m"
STATE_STYLES = {
    "succeeded": _GREEN,
    "online": _GREEN,
    "running": _CYAN,
    "pending": _YELLOW,
    "paused": _YELLOW,
    "draining": _YELLOW,
    "failed": _RED,
    "lost": _RED,
    "timed_out": _RED,
    "offline": _RED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its title, the text for people, and, where it differs, the text for pipes.

    `gives`: whether it may be cut where a terminal is too narrow; `-o wide` cuts nothing.
    """

    title: str
    text: Callable[[Any], str]
    plain: Callable[[Any], str] | None = None
    wide: bool = False
    gives: Gives = Gives.NOTHING

    def plain_text(self, row: Any) -> str:
        return (self.plain or self.text)(row)


def show_list(
    session: Session,
    rows: Sequence[Message],
    columns: Sequence[Column],
    *,
    name: Callable[[Any], str],
    reply: Message | None = None,
) -> None:
    """A page of things. `reply` is the list's own message, for JSON."""
    if session.output == "json":
        print(dialect.dumps(_list_form(rows, reply), indent=2))
    elif session.output in ("jsonl", "yaml", "name"):
        for row in rows:
            show_row(session, row, name=name)
    elif session.output == "tabs":
        for row in rows:
            print("\t".join(_one_line(column.plain_text(row)) for column in columns))
    else:
        _table(session, rows, columns)


def show_row(session: Session, row: Message, *, name: Callable[[Any], str]) -> None:
    """One thing as data."""
    if session.output == "name":
        print(name(row))
    elif session.output == "jsonl":
        print(dialect.dumps(dialect.render(row)), flush=True)
    elif session.output == "yaml":
        print(f"---\n{as_yaml(dialect.render(row, omit_defaults=True))}", end="")
    else:
        print(dialect.dumps(dialect.render(row), indent=2))


def show_plain(session: Session, plain: Mapping[str, Any], *, name: str, text: str) -> None:
    """What a command did at the data folder: as data where that was asked for, else as text."""
    import json

    if session.output == "name":
        print(name)
    elif session.output == "json":
        print(json.dumps(plain, indent=2, ensure_ascii=False))
    elif session.output == "jsonl":
        print(json.dumps(plain, ensure_ascii=False))
    elif session.output == "yaml":
        print(f"---\n{as_yaml(dict(plain))}", end="")
    else:
        print(text)


def is_data(session: Session) -> bool:
    """Whether a program's format was asked for."""
    return session.output in ("json", "jsonl", "yaml", "name")


def as_yaml(plain: Any) -> str:
    """YAML text of plain data."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None
    buffer = io.StringIO()
    yaml.dump(plain, buffer)
    return buffer.getvalue()


def facts(session: Session, pairs: Sequence[tuple[str, str]]) -> None:
    """Named values, aligned for people, with a tab for pipes; empty ones are left out."""
    pairs = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        if session.output == "tabs":
            print(f"{name}\t{_one_line(value)}")
        else:
            print(f"{name:<{width}}  {value}")


def short(identifier: str) -> str:
    """The end of an id, which is enough to type."""
    return identifier[-8:]


def _list_form(rows: Sequence[Message], reply: Message | None) -> dict[str, Any]:
    form: dict[str, Any] = {"data": [dialect.render(row) for row in rows]}
    for key in ("next_page_token", "total", "total_exact"):
        if reply is not None and key in reply.DESCRIPTOR.fields_by_name:
            form[key] = getattr(reply, key)
    return form


def _one_line(text: str) -> str:
    return text.replace("\t", " ").replace("\n", " ")


def _table(session: Session, rows: Sequence[Message], columns: Sequence[Column]) -> None:
    wide = session.output == "wide"
    shown = [column for column in columns if wide or not column.wide]
    cells = [
        [_one_line((column.plain_text if wide else column.text)(row)) for column in shown]
        for row in rows
    ]
    colours = session.settings.colours(sys.stdout.isatty())
    for number, line in enumerate(
        table.lines(
            [[column.title for column in shown], *cells],
            [column.gives for column in shown],
            None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns,
            _coloured if colours else lambda _, padded: padded,
        )
    ):
        print(f"{_BOLD}{line}{_RESET}" if colours and number == 0 else line)


def _coloured(cell: str, padded: str) -> str:
    style = STATE_STYLES.get(cell)
    return f"{style}{padded}{_RESET}" if style else padded
