"""A run's input from the line: `--param day=2026-11-20`, `--param count:=3`, `--params-file`."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kronforce.cli.failure import CommandError
from kronforce.cli.settings import UsageError
from kronforce_client import dialect


def read_params(pairs: Sequence[str], file: str | None) -> dict[str, Any] | None:
    """The params, or None if there are none. Raises UsageError or CommandError."""
    if not pairs and file is None:
        return None
    params = _from_file(file) if file is not None else {}
    for pair in pairs:
        key, value = _split(pair)
        params[key] = value
    return params


def _split(pair: str) -> tuple[str, Any]:
    key, equals, text = pair.partition("=")
    if not equals or not key.rstrip(":"):
        raise UsageError(f'"{pair}" is not a parameter', "--param day=2026-11-20 or count:=3")
    if not key.endswith(":"):
        return key, text
    try:
        return key[:-1], dialect.loads(text)
    except dialect.DialectError:
        raise UsageError(
            f'"{text}" is not JSON, which := takes', f"text goes with =: --param {key[:-1]}={text}"
        ) from None


def _from_file(file: str) -> dict[str, Any]:
    from kronforce.cli.job_files import Unreadable, read_documents

    try:
        documents = list(read_documents(file))
    except Unreadable as error:
        raise CommandError(str(error), "--params-file takes YAML or JSON") from None
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise UsageError(f"{file} must hold one object with the parameters")
    return dict(documents[0].value)
