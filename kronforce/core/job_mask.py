"""What a field mask makes of a definition: which fields of it are taken from the change."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from kronforce.core.job_rules import OUTPUT_ONLY
from kronforce.errors import InvalidArgument
from kronforce.v1.job_pb2 import Job


def merged(before: Job, change: Job, mask: Sequence[str]) -> Job:
    """The definition with the fields of the mask taken from `change`; all of them without one."""
    after, taken = Job(), Job()
    taken.CopyFrom(change)
    if not mask:
        return taken
    after.CopyFrom(before)
    for field in Job.DESCRIPTOR.fields:
        # Cleared on one side, each field has one source: merging then neither adds up lists nor
        # mixes the arms of a union.
        (after if field.name in mask else taken).ClearField(field.name)  # type: ignore[arg-type]  # the stub wants literals
    after.MergeFrom(taken)
    return after


def read_mask(paths: Sequence[str]) -> tuple[str, ...]:
    """The mask's writable fields; empty: all. Raises InvalidArgument for what is no field."""
    if "*" in paths:
        return ()
    known = sorted(Job.DESCRIPTOR.fields_by_name)
    if wrong := [path for path in paths if path not in known]:
        raise InvalidArgument.of(*(("update_mask", _mask_problem(path, known)) for path in wrong))
    return tuple(path for path in paths if path not in OUTPUT_ONLY)


def _mask_problem(path: str, known: list[str]) -> str:
    top = path.partition(".")[0]
    if top in known:
        return f"{path!r} lies inside a field; name the whole field, {top!r}"
    close = difflib.get_close_matches(path, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(known)}"
    return f"a job has no field {path!r}; {hint}"
