"""`run get`, `list`, `cancel`, and `last`."""

from __future__ import annotations

from kronforce.cli.missing import naming_similar
from kronforce.cli.run_explain import tell_steps
from kronforce.cli.run_facts import run_facts
from kronforce.cli.run_names import find_run, run_id
from kronforce.cli.session import Session, current
from kronforce.cli.settings import UsageError
from kronforce.cli.show import Column, facts, is_data, short, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, between, relative
from kronforce.v1.execution_pb2 import ExecutionState
from kronforce.v1.run_pb2 import Run, Trigger
from kronforce_client import Client
from kronforce_client.handle import state_word


def get(run: str, /) -> None:
    """What became of a run, explained.

    Parameters
    ----------
    run
        An id, the end of one, @last, or a job's name for its newest run.
    """
    session = current()
    with session.client() as client:
        show_run(session, client, find_run(client, run))


def last(job: str = "", /) -> None:
    """The newest run, of one job or of all, explained.

    Parameters
    ----------
    job
        A job's name or id.
    """
    get(job or "@last")


def list_runs(
    job: str = "",
    /,
    *,
    state: str = "",
    group: str = "",
    limit: int = 20,
) -> None:
    """Runs, newest first.

    Parameters
    ----------
    job
        Only of this job.
    state
        Only in this state, such as running or failed.
    group
        Only of this group.
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=job):
        page = client.runs.page(job=job, state=_state(state), group=group, page_size=limit)
    show_list(session, page.runs, _columns(session), name=lambda run: str(run.id), reply=page)
    if not page.runs:
        session.say("no runs    kronforce job run NAME makes one")


def cancel(run: str, /, *, reason: str = "") -> None:
    """End a run: what waits ends at once, what runs gets TERM, grace, KILL.

    Parameters
    ----------
    run
        An id, the end of one, or @last.
    reason
        Why, for the record.
    """
    session = current()
    with session.client() as client:
        ended = client.runs.cancel(run_id(client, run), reason=reason)
    if is_data(session):
        show_row(session, ended, name=lambda row: str(row.id))
        return
    print(f"run {ended.id} of {ended.job_name}: {state_word(ended.state)}")
    if not ended.HasField("finished_at"):
        session.say(f"it is being ended    kronforce run get {short(ended.id)}")


def show_run(session: Session, client: Client, run: Run) -> None:
    """A run as data, or explained."""
    if is_data(session):
        show_row(session, run, name=lambda row: str(row.id))
        return
    told = client.runs.explain(run.id)
    print(told.sentence)
    facts(session, run_facts(run, now=session.clock.now(), utc=session.settings.utc))
    lines = client.runs.last_lines(run) if run.HasField("finished_at") else []
    if lines and state_word(run.state) != "succeeded":
        print("last lines:", *(f"  {line}" for line in lines), sep="\n")
    tell_steps(session, told)


def _columns(session: Session) -> list[Column]:
    now, utc = session.clock.now(), session.settings.utc

    def took(run: Run) -> str:
        if not (run.HasField("started_at") and run.HasField("finished_at")):
            return ""
        return between(run.started_at, run.finished_at)

    return [
        Column(title="RUN", text=lambda run: short(run.id), plain=lambda run: str(run.id)),
        Column(title="JOB", text=lambda run: str(run.job_name), gives=Gives.NAME),
        Column(title="STATE", text=lambda run: state_word(run.state)),
        Column(
            title="TRIGGERED",
            text=lambda run: relative(run.created_at, now),
            plain=lambda run: absolute(run.created_at, utc=utc),
        ),
        Column(title="TOOK", text=took),
        Column(title="BY", text=lambda run: str(run.triggered_by), gives=Gives.NAME),
        Column(
            title="WHY",
            gives=Gives.TEXT,
            text=lambda run: str(run.message or run.state_reason.replace("_", " ")),
        ),
        Column(title="TRIGGER", text=_trigger, wide=True),
    ]


def _trigger(run: Run) -> str:
    return Trigger.Name(run.trigger).removeprefix("TRIGGER_").lower()


def _state(word: str) -> ExecutionState.ValueType | None:
    if not word:
        return None
    try:
        return ExecutionState.Value(f"EXECUTION_STATE_{word.upper().replace('-', '_')}")
    except ValueError:
        known = ", ".join(state_word(number) for number in ExecutionState.values()[1:])
        raise UsageError(f'"{word}" is not a state', f"one of: {known}") from None
