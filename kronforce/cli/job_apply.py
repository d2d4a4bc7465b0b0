"""`job apply` and `job validate`: files against the server, or against the rules alone."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError, code_of
from kronforce.cli.job_diff import print_plan
from kronforce.cli.job_files import JobFile, read_jobs
from kronforce.cli.session import Session, current
from kronforce.cli.show import is_data, show_list
from kronforce_client import Applied, Client, Conflict, Invalid, NotFound, Planned
from kronforce_client.errors import ClientError

if TYPE_CHECKING:
    from kronforce.v1.job_pb2 import Job

Files = Annotated[list[str], Parameter(name=["--file", "-f"], negative=(), consume_multiple=True)]


def apply(
    *files: str,
    file: Files | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make jobs what their files say: checks all, shows the difference, applies it.

    Changes are made against the versions that were shown; a second apply says "unchanged".

    Parameters
    ----------
    files
        The same as --file.
    file
        A YAML or JSON file with one or more jobs, a folder of them, or - for standard input.
    dry_run
        Show the difference and change nothing.
    """
    session = current()
    read = _checked([*files, *(file or [])])
    with session.client() as client:
        plans = list(client.jobs.plan([each.job for each in read]))
        if dry_run or not is_data(session):
            print_plan(session, plans)
        if dry_run or len(read) > 1:
            _check_all(session, client, read, plans, tell=dry_run)
        if not dry_run:
            _apply_all(session, client, read, plans)
    return 0


def validate(*files: str, file: Files | None = None) -> int:
    """Check job files without a server: form, names, ranges, cron.

    Parameters
    ----------
    files
        YAML or JSON files, folders of them, or - for standard input.
    file
        The same.
    """
    read = _checked([*files, *(file or [])])
    for each in read:
        print(f"{each.document.file}: {each.job.name} is valid")
    return 0


def read_timing(path: str) -> list[JobFile]:
    """The jobs of a file whose schedules are right; the rest of them may be unfinished."""
    from kronforce.core.job_rules import validate_timing

    return _all_right(read_jobs([path]), validate_timing)


def _checked(paths: Sequence[str]) -> list[JobFile]:
    """The jobs of the files, after every rule that needs no server. Raises CommandError."""
    from kronforce.core.job_rules import validate_job

    if not paths:
        raise CommandError("which files?", "kronforce job apply -f jobs/", code=Exit.USAGE)
    read = _all_right(read_jobs(paths), validate_job)
    _say_ignored(read)
    return read


def _say_ignored(read: Sequence[JobFile]) -> None:
    """A definition that was written from `job get -o yaml` has these too, and is no mistake."""
    for each in read:
        if each.ignored:
            place = each.document.place_of_text(each.ignored[0])
            names = ", ".join(each.ignored)
            current().warn(f"warning: {place}  ignored, as the server sets it: {names}")


def _all_right(read: list[JobFile], check: Callable[..., list[tuple[str, str]]]) -> list[JobFile]:
    now = current().clock.now()
    problems = [
        _placed(each, field, description)
        for each in read
        for field, description in check(each.job, now)
    ]
    if problems:
        raise CommandError(*problems)
    return read


def _placed(file: JobFile, field: str, description: str) -> str:
    return f"{file.document.place_of_text(field)}  {field}  {description}"


def _check_all(
    session: Session,
    client: Client,
    read: Sequence[JobFile],
    plans: Sequence[Planned],
    *,
    tell: bool,
) -> None:
    """Ask the server about each before any is changed. Raises CommandError with all it refuses."""
    refused: list[CommandError] = []
    for file, plan in zip(read, plans, strict=True):
        try:
            [job] = client.jobs.check([plan])
        except ClientError as error:
            refused.append(_refusal(file, error))
            continue
        if tell:
            _warn(session, job)
    if refused:
        lines = [line for each in refused for line in (each.message, *each.hints)]
        raise CommandError(
            *dict.fromkeys(lines), "nothing was changed", code=refused[0].code
        ) from None


def _apply_all(
    session: Session, client: Client, read: Sequence[JobFile], plans: Sequence[Planned]
) -> None:
    """One after another; what was done is told also where something ends it half-way."""
    applied: list[Applied] = []
    try:
        for file, plan in zip(read, plans, strict=True):
            try:
                applied += client.jobs.apply([plan])
            except ClientError as error:
                raise _refusal(file, error) from None
    finally:
        if applied:
            _report(session, applied)
        if 0 < len(applied) < len(read):
            session.warn(f"{len(applied)} of {len(read)} jobs were applied before this:")


def _refusal(file: JobFile, error: ClientError) -> CommandError:
    """What the server has against one job, with its place. Raises what is no job's fault."""
    if isinstance(error, Invalid):
        lines = [_placed(file, each.field, each.description) for each in error.violations]
        return CommandError(*(lines or [_named(file, error)]))
    if isinstance(error, Conflict):
        again = "look at the difference again: kronforce job apply"
        return CommandError(_named(file, error), again, code=Exit.CONFLICT)
    if isinstance(error, NotFound) or error.reason == "NOT_ALLOWED":
        return CommandError(_named(file, error), code=code_of(error))
    raise error


def _named(file: JobFile, error: ClientError) -> str:
    return f'{file.document.place(("name",))}  job "{file.job.name}": {error.message}'


def _report(session: Session, applied: Sequence[Applied]) -> None:
    for each in applied:
        _warn(session, each.job)
    if is_data(session):
        show_list(session, [each.job for each in applied], [], name=lambda job: str(job.name))
        return
    for each in applied:
        if session.output == "tabs":
            print(f"{each.job.name}\t{each.action}\t{each.job.version}")
        else:
            print(f"{each.job.name} {each.action}")


def _warn(session: Session, job: Job) -> None:
    for warning in job.warnings:
        session.warn(f"warning: {job.name}: {warning}")
