"""What was said on the line by flags that are settings, and all settings with it.

A class of flags is a dataclass whose fields have the settings' names; None is what was not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from kronforce.cli.failure import CommandError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from kronforce.config import Config


def given(flags: DataclassInstance) -> dict[str, object]:
    """What was said, by setting name."""
    values = {each.name: getattr(flags, each.name) for each in fields(flags)}
    return {name: value for name, value in values.items() if value is not None}


def settled(said: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """Everything settled: the flags, then what else says it. Raises CommandError."""
    # Only the commands that serve need it.
    from kronforce.config import CannotStart, load  # noqa: PLC0415

    try:
        return load(said, environ)
    except CannotStart as error:
        raise CommandError(str(error)) from error
