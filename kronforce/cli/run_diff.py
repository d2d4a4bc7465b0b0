"""`run diff`: how the output of two runs differs, as a unified diff of bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.run_names import find_run
from kronforce.cli.run_output import STDERR, STDOUT, STREAM_NAMES
from kronforce.cli.session import Session, current
from kronforce.cli.show import short
from kronforce.v1.execution_pb2 import OutputStream
from kronforce.v1.run_pb2 import Run
from kronforce_client import Client
from kronforce_client.output_diff import DIFF_MAX_BYTES, OutputTooLarge

_COLOURS = {b"+": b"\x1b[32m", b"-": b"\x1b[31m", b"@": b"\x1b[36m"}
_RESET = b"\x1b[0m"


def diff(
    run1: str,
    run2: str,
    /,
    *,
    stderr: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """How the standard output of two runs differs, of the newest execution of each.

    Ends with 0 when both are the same and with 9 when they differ.

    Parameters
    ----------
    run1
        An id, the end of one, @last, or a job's name for its newest run.
    run2
        The other.
    stderr
        Compare standard error instead.
    """
    session = current()
    stream = STDERR if stderr else STDOUT
    with session.client() as client:
        runs = [find_run(client, each) for each in (run1, run2)]
        lines = _compare(client, runs, stream)
    if not lines:
        session.say(f"{STREAM_NAMES[stream]} of {_name(runs[0])} and {_name(runs[1])} is the same")
        return Exit.FINE
    _print(session, [f"--- {_name(runs[0])}", f"+++ {_name(runs[1])}"], lines[2:])
    return Exit.ANSWER_IS_NO


def _compare(
    client: Client, runs: Sequence[Run], stream: OutputStream.ValueType
) -> Sequence[bytes]:
    for run in runs:
        _check(run, stream)
    try:
        return client.executions.diff(
            runs[0].executions[-1].id, runs[1].executions[-1].id, stream=stream
        )
    except OutputTooLarge as error:
        raise _too_large(str(error), stream) from None


def _check(run: Run, stream: OutputStream.ValueType) -> None:
    """Refuse by the known size, before anything is fetched."""
    if not run.executions:
        raise CommandError(f"{_name(run)} has no execution, so it has no output")
    newest = run.executions[-1]
    size = newest.stderr_bytes if stream == STDERR else newest.stdout_bytes
    if size > DIFF_MAX_BYTES:
        raise _too_large(
            f"{_name(run)} wrote {size:,} bytes; at most {DIFF_MAX_BYTES:,} are compared here",
            stream,
        )


def _too_large(message: str, stream: OutputStream.ValueType) -> CommandError:
    flag = STREAM_NAMES[stream]
    return CommandError(
        message,
        f"save both and compare the files:  kronforce run logs RUN --{flag} --save FILE",
    )


def _name(run: Run) -> str:
    return f"run {short(run.id)} of {run.job_name}"


def _print(session: Session, names: Sequence[str], lines: Sequence[bytes]) -> None:
    coloured = session.settings.colours(sys.stdout.isatty())
    out = sys.stdout.buffer
    for line in [name.encode() for name in names] + list(lines):
        colour = _COLOURS.get(line[:1], b"") if coloured else b""
        out.write(colour + line + (_RESET if colour else b"") + b"\n")
    out.flush()
