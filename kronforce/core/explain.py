"""Why a run stands where it stands: a sentence for people, and what to do next.

Pure: `engine/explaining.py` brings the facts. A reason that has no words here
still gets what was stored of it, so that an agent's own words are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kronforce.core.custom_tasks import is_custom
from kronforce.core.explain_ended import ended
from kronforce.core.explain_facts import Facts, Verdict
from kronforce.core.explain_waiting import OF_PENDING, OF_RUNNING
from kronforce.core.explain_words import coarse, span
from kronforce.core.lifecycle import TERMINAL, Reason, State
from kronforce.core.waited import why_it_waited

_ASK_STEPS = ("kronforce agent list", "start the agent on its host: it is to ask for work")
_SLOT_STEPS = ("kronforce agent list", "more slots: kronforce agent run --slots N")


def sentence(facts: Facts) -> str:
    """Why this execution stands where it stands."""
    if facts.state in TERMINAL:
        return ended(facts)
    if facts.state is State.RUNNING:
        return OF_RUNNING.get(facts.reason, OF_RUNNING[Reason.NONE])(facts)
    if facts.state is State.PENDING_APPROVAL:
        return f"Waiting {coarse(facts.now - facts.since)} for somebody's approval."
    say = OF_PENDING.get(facts.reason)
    return say(facts) if say is not None else _other(facts)


def _other(facts: Facts) -> str:
    said = facts.message or facts.reason.replace("_", " ")
    return f"Waiting {coarse(facts.now - facts.since)}" + (f": {said}." if said else ".")


def run_sentence(
    state: State, by_state: Mapping[State, int], told: Sequence[Facts], took_us: int | None
) -> str:
    """Why a run of several targets stands where it stands; `told` are those that did not succeed.

    `took_us`: from its first start to its end, or to now.
    """
    total = sum(by_state.values())
    parts = [
        f"{number:,} {each.word.replace('_', ' ')}"
        for each, number in sorted(by_state.items(), key=lambda item: -item[1])
        if number
    ]
    word = state.word.replace("_", " ").capitalize()
    time = "" if took_us is None else f" {'after' if state in TERMINAL else 'for'} {span(took_us)}"
    head = f"{word}{time} on {total:,} targets ({', '.join(parts)})"
    worst = _most_telling(state, told)
    if worst is None:
        return f"{head}."
    text = sentence(worst)
    return f"{head}. Target {_name(worst)}: {text}"


def _name(facts: Facts) -> str:
    return facts.target_name or facts.agent or "one"


def _most_telling(state: State, told: Sequence[Facts]) -> Facts | None:
    """The first whose state is the run's, else the first that is open."""
    for facts in told:
        if facts.state is state:
            return facts
    return told[0] if told else None


def next_steps(
    state: State, told: Sequence[Facts], run_id: str, job: str, *, targets: int
) -> list[str]:
    """What would let it go on, or what to do now, most useful first."""
    facts = _most_telling(state, told)
    reason = facts.reason if facts is not None else ""
    cancel = f"end it: kronforce run cancel {run_id}"
    if state is State.SUCCEEDED:
        return [f"kronforce run logs {run_id}"]
    if state in TERMINAL:
        return _after_the_end(state, reason, told, run_id, job, targets)
    if state is State.RUNNING and (facts is None or facts.state is State.RUNNING):
        return [f"kronforce run logs {run_id} -f", cancel]
    return [*_to_go_on(facts, reason, job), f"kronforce run watch {run_id}", cancel]


def _to_go_on(facts: Facts | None, reason: str, job: str) -> list[str]:
    if reason in (Reason.SLOT, Reason.QUEUE):
        quiet = facts is not None and any(a.verdict == Verdict.NOT_ASKING for a in facts.agents)
        return list(_ASK_STEPS if quiet else _SLOT_STEPS)
    if reason == Reason.OFFLINE:
        return ["kronforce agent list", *_bring_back(facts)]
    if reason == Reason.LABELS:
        return [*_enrol(facts), f"or change what job {job} names as its target"]
    if reason == Reason.CONCURRENCY and facts is not None and facts.held_by:
        return [f"kronforce run explain {facts.held_by[0]}"]
    return []


def _bring_back(facts: Facts | None) -> list[str]:
    agents = facts.agents if facts is not None else ()
    drained = [a.name for a in agents if a.verdict == Verdict.DRAINING and not a.by_itself]
    away = not agents or any(a.verdict == Verdict.OFFLINE for a in agents)
    end = f"end the draining: kronforce agent drain {drained[0] if drained else 'NAME'} --off"
    return [*(["start the agent on its host"] if away else []),
            *([end] if drained or not agents else [])]  # fmt: skip


def _enrol(facts: Facts | None) -> list[str]:
    verdicts = Counter(a.verdict for a in facts.agents) if facts is not None else Counter[str]()
    if verdicts[Verdict.UNTRUSTED]:
        return [
            "have an admin save the job, or give it an agent of its own (kronforce agent token)"
        ]
    if verdicts[Verdict.NOT_ALLOWED]:
        return ["kronforce agent list; an admin can let the group use one of them"]
    if facts is not None and verdicts[Verdict.TASK_TYPE] and is_custom(facts.settings.task_type):
        name = next(a.name for a in facts.agents if a.verdict == Verdict.TASK_TYPE)
        return [f"define the task type on the agent: kronforce agent task-types {name} -f FILE"]
    return ["enrol an agent that fits: kronforce agent token"]


def _after_the_end(
    state: State, reason: str, told: Sequence[Facts], run_id: str, job: str, targets: int
) -> list[str]:
    logs, again = f"kronforce run logs {run_id}", f"again: kronforce run rerun {run_id}"
    if targets > 1:
        again = f"again, what failed of it: kronforce run rerun {run_id} --failed"
    hint = _HINTS.get(reason)
    if reason == Reason.QUEUE_TIMEOUT:
        waited = (why_it_waited(f.message) for f in told if f.reason == reason)
        hint = _WAITED_HINTS.get(next(waited, ""), hint)
    started = any(facts.started_at is not None for facts in told)
    steps = [logs] if started or state is State.FAILED else []
    return [*steps, *([hint.format(job=job)] if hint else []), again]


# Of what waited longer than queue_timeout_secs, by what it waited for.
_WAITED_HINTS: dict[str, str] = {
    Reason.CONCURRENCY: "raise max_concurrent or queue_timeout_secs of job {job}",
    Reason.OFFLINE: "see who is here: kronforce agent list",
}
_HINTS: dict[str, str] = {
    Reason.UNRESOLVED_VARIABLE: "give it a value: kronforce variable list",
    Reason.TIMEOUT: "if it needs longer: raise timeout_secs of job {job}",
    Reason.RUN_TIMEOUT: "if it needs longer: raise run_timeout_secs of job {job}",
    Reason.AGENT_STOPPED: "tasks outlive the stop of an agent of its own: kronforce agent run",
    Reason.OVERLAP: "to have runs wait instead: concurrency_policy queue of job {job}",
    Reason.QUEUE_FULL: "raise max_concurrent or queue_limit of job {job}",
    Reason.NO_AGENT: "see who is enrolled: kronforce agent list",
    Reason.QUEUE_TIMEOUT: "more agents or slots, or a longer queue_timeout_secs of job {job}",
    Reason.OFFLINE_TIMEOUT: "see who is here: kronforce agent list",
    Reason.UNSUPPORTED: "see what agents can run: kronforce agent list -o wide",
    Reason.AGENT_LOST: "look on its host whether it ran; delivery at_least_once runs it again",
    Reason.AGENT_RESTARTED: "look on its host whether it ran; delivery at_least_once runs it again",
    Reason.LAUNCHER_DIED: "look on its host whether it ran; delivery at_least_once runs it again",
    # What an agent says of an http task (kronforce_egress.errors).
    "http_status": "if that status is right: expect_status of job {job}",
    "response_too_large": "raise max_response_bytes of job {job}, or ask for less",
    "too_many_redirects": "see where they lead in its output; max_redirects of job {job}",
    "egress_refused": "give job {job} another url; no setting opens that address",
    Reason.QUARANTINED: "find out what ends its agents before it runs again",
}
