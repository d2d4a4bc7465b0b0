"""Why an execution waits or what it is doing: the sentence for each reason of an open state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kronforce.core.custom_tasks import is_custom
from kronforce.core.explain_facts import FITTING, Facts, Verdict
from kronforce.core.explain_words import coarse, count, is_one, names, on_agent, span, who
from kronforce.core.lifecycle import Reason

Say = Callable[[Facts], str]

_LACKS = {
    Verdict.TAG: "without the tag",
    Verdict.TASK_TYPE: "unable to run this kind of task",
    Verdict.UNTRUSTED: "closed to process tasks of this author",
    Verdict.NOT_ALLOWED: "closed to this group",
}


def _waiting(f: Facts) -> str:
    return f"Waiting {coarse(f.now - f.since)}"


def _whom(f: Facts) -> str:
    return who(f.target, f.target_name)


def _crowd(f: Facts) -> str:
    """`2 agents, 8 of 8 slots busy`, of those that fit and are here."""
    here = [a for a in f.agents if a.verdict in (Verdict.NEXT, Verdict.BUSY)]
    busy, slots = sum(a.busy for a in here), sum(a.slots for a in here)
    crowd = f"{busy} of {slots} slots busy"
    return crowd if is_one(f.target) else f"{count(len(here), 'agent')}, {crowd}"


def _unasked(f: Facts) -> str:
    """Of what waits for custom agents alone, none of which asks for work; else empty."""
    fitting = [a for a in f.agents if a.verdict in FITTING]
    quiet = [a for a in fitting if a.verdict == Verdict.NOT_ASKING]
    if not quiet or len(quiet) < len(fitting):
        return ""
    last = min(a.silent_us for a in quiet)
    which = _whom(f) if is_one(f.target) else names(tuple(a.name for a in quiet))
    verb = "has" if len(quiet) == 1 else "have"
    return (
        f"Queued {coarse(f.now - f.since)}: {which} {verb} not asked for work for {span(last)}"
        f"{_gives_up(f)}."
    )


def _slot(f: Facts) -> str:
    if unasked := _unasked(f):
        return unasked
    ahead = f"; {f.ahead:,} ahead" if f.ahead else ""
    return f"{_waiting(f)} for a slot on {_whom(f)} ({_crowd(f)}{ahead})."


def _queue(f: Facts) -> str:
    if unasked := _unasked(f):
        return unasked
    if not f.ahead:
        return f"{_waiting(f)} in the queue for {_whom(f)}: its turn comes now ({_crowd(f)})."
    return f"{_waiting(f)} in the queue for {_whom(f)} ({_crowd(f)}; {f.ahead:,} ahead)."


def _labels(f: Facts) -> str:
    task = f.settings.task_type
    lacking = Counter(a.verdict for a in f.agents if a.verdict not in FITTING)
    found = "; ".join(f"{number} {_LACKS[word]}" for word, number in sorted(lacking.items()))
    seen = f" ({found})" if found else ""
    return f"{_waiting(f)}: no enrolled agent fits {_whom(f)} with task type {task}{seen}."


def _offline(f: Facts) -> str:
    away, drain = named(f, Verdict.OFFLINE), named(f, Verdict.DRAINING)
    one = is_one(f.target)
    subject, verb = (_whom(f), "is") if one else ("the agents that fit", "are")
    if away and drain:
        how = f"offline ({names(away)}) or draining ({names(drain)})"
    elif away or drain:
        how = "draining: nothing new is given to " + ("it" if one else "them")
        how = "offline" if away else how
        subject += "" if one else f" ({names(away or drain)})"
    else:
        how = "offline or draining"
    return f"{_waiting(f)}: {subject} {verb} {how}{_gives_up(f)}."


def named(f: Facts, verdict: str) -> tuple[str, ...]:
    """The agents of that verdict."""
    return tuple(a.name for a in f.agents if a.verdict == verdict)


def _gives_up(f: Facts) -> str:
    return "" if f.until is None else f"; gives up in {coarse(f.until - f.now)}"


def _assigned(f: Facts) -> str:
    return f"Sent to {f.agent or 'its agent'} {span(f.now - f.since)} ago, not yet accepted."


def _concurrency(f: Facts) -> str:
    limit = count(f.settings.max_concurrent, "run")
    holders = f", held by {names(f.held_by)}" if f.held_by else ""
    key = f" for concurrency_key {f.slot_key}" if f.slot_key else ""
    return f"{_waiting(f)}: job {f.job_name} has {limit} at a time{key} (max_concurrent){holders}."


def _retry_wait(f: Facts) -> str:
    of = f" of {f.allowed}" if f.allowed >= f.attempt else ""
    due = "" if f.until is None else f", in {coarse(f.until - f.now)}"
    before = f"; attempt {f.attempt - 1} {f.before}" if f.before else ""
    return f"Waiting for attempt {f.attempt}{of}{due}{before}."


def _running(f: Facts) -> str:
    number = f" attempt {f.attempt} of {f.allowed}" if f.allowed > 1 else ""
    return f"Running{number} for {span(f.now - f.since)}{on_agent(f)}."


def _unreachable(f: Facts) -> str:
    away = "" if f.away_since is None else f" for {span(f.now - f.away_since)}"
    lost = "" if f.until is None else f"; counted as lost in {span(max(0, f.until - f.now))}"
    agent = f.agent or "its agent"
    return f"Started {span(f.now - f.since)} ago on {agent}, which is out of reach{away}{lost}."


def _cancelling(f: Facts) -> str:
    said = f" ({f.why})" if f.why else ""
    why = f", asked for by {f.by}{said}" if f.by else ""
    if f.asked == Reason.REPLACED:
        why = ", since a newer run takes its place"
    elif f.overdue and not f.by:
        why = ", since its run took too long"
    if is_custom(f.settings.task_type):
        return f"To be ended{on_agent(f)}{why}: the agent hears of it when it calls next."
    grace = f"{f.settings.kill_grace_secs} s"
    return f"Being ended{on_agent(f)}{why}: TERM was sent, KILL follows after {grace}."


def _storing(f: Facts) -> str:
    return f"Has ended{on_agent(f)}; the last of its output is being stored."


OF_PENDING: dict[str, Say] = {
    Reason.QUEUE: _queue,
    Reason.SLOT: _slot,
    Reason.LABELS: _labels,
    Reason.OFFLINE: _offline,
    Reason.ASSIGNED: _assigned,
    Reason.CONCURRENCY: _concurrency,
    Reason.RETRY_WAIT: _retry_wait,
}
OF_RUNNING: dict[str, Say] = {
    Reason.NONE: _running,
    Reason.AGENT_UNREACHABLE: _unreachable,
    Reason.CANCELLING: _cancelling,
    Reason.STORING_OUTPUT: _storing,
}
