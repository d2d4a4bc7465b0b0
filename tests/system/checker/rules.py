"""`judge(history)`: everything in a history that breaks a promise.

Pure. One function a rule, each gives sentences; none assumes that another's rule holds, so that a
history broken in one way is told of in that way.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise

from tests.system.checker.causes import LAUNCHER, causeless, left_behind, was_killed
from tests.system.checker.history import (
    TERMINAL,
    Attempt,
    Effect,
    Happened,
    History,
    Piece,
    Policy,
    Run,
    stream_of,
)

# What the product keeps of reports under a stale fence, per execution.
MAX_EVIDENCE = 8
QUARANTINE_AFTER = 3
NEVER_STARTED = frozenset({"skipped", "expired", "rejected"})
ATTEMPT_EVENTS = ("job.triggered", "execution.started", "execution.completed")

Findings = Iterator[str]


def judge(history: History) -> list[str]:
    """Every violation, as `(rule) sentence`; an empty list is a pass."""
    return [f"({rule}) {text}" for rule, check in RULES for text in check(history)]


def _acknowledged_once(history: History) -> Findings:
    """(a) An acknowledged trigger has exactly one run, which reaches one terminal state."""
    runs = {run.id: run for run in history.runs}
    if len(runs) != len(history.runs):
        yield "a run is listed twice"
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for ack in history.acknowledged:
        answers[ack.job, ack.request_id].add(ack.run_id)
        if ack.run_id not in runs:
            yield f"trigger {ack.request_id} of {ack.job} was answered with {ack.run_id}: no run"
    for (job, request_id), ids in answers.items():
        if len(ids) > 1:
            yield f"trigger {request_id} of {job} was answered with {len(ids)} runs: {sorted(ids)}"
    for run in history.runs:
        yield from _is_over(run)


def _is_over(run: Run) -> Findings:
    if run.state not in TERMINAL or run.finished_at is None:
        yield f"run {run.id} of {run.job} is {run.state}"
    if not run.attempts:
        yield f"run {run.id} of {run.job} has no execution"
    for attempt in run.attempts:
        if attempt.state not in TERMINAL or attempt.finished_at is None:
            yield f"execution {attempt.id} of {run.job} is {attempt.state}"
    last = {attempt.target: attempt for attempt in sorted(run.attempts, key=lambda a: a.number)}
    if len(last) == 1 and run.state in TERMINAL:
        (attempt,) = last.values()
        if attempt.state != run.state:
            yield f"run {run.id} is {run.state}, its last attempt {attempt.state}"


def _unasked_runs(history: History) -> Findings:
    """(a) No run that nobody asked for: a retried trigger makes one run."""
    asked = {ack.run_id for ack in history.acknowledged}
    for run in history.runs:
        if run.id not in asked and run.nominal_at is None:
            yield f"run {run.id} of {run.job} was made, and no trigger was answered with it"


def _legal_events(history: History) -> Findings:
    """(b) Events of one execution: triggered or retried, started at most once, completed once."""
    cursors = Counter(event.cursor for event in history.events)
    yield from (f"event {cursor} is listed {n} times" for cursor, n in cursors.items() if n > 1)
    kinds = _kinds_by_execution(history.events)
    for run in history.runs:
        for attempt in run.attempts:
            yield from _legal_life(run, attempt, kinds.get(attempt.id, []))


def _legal_life(run: Run, attempt: Attempt, kinds: Sequence[str]) -> Findings:
    if (attempt.number == 1) != ("job.triggered" in kinds):
        yield f"execution {attempt.id} (attempt {attempt.number}) has events {kinds}"
    order = [ATTEMPT_EVENTS.index(kind) for kind in kinds]
    if order != sorted(order) or len(set(kinds) - {"execution.completed"}) != len(
        [kind for kind in kinds if kind != "execution.completed"]
    ):
        yield f"execution {attempt.id} of {run.job} went {' → '.join(kinds)}"
    if attempt.started_at is not None and "execution.started" not in kinds:
        yield f"execution {attempt.id} of {run.job} started without an event"
    if attempt.started_at is None and "execution.started" in kinds:
        yield f"execution {attempt.id} of {run.job} has an event of a start and no start"


def _legal_watches(history: History) -> Findings:
    """(b) A watcher sees revisions that never fall, and nothing after a terminal state."""
    by_run: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for seen in history.seen:
        by_run[seen.run_id].append((seen.revision, seen.state))
    final = {run.id: run.state for run in history.runs}
    for run_id, states in by_run.items():
        for (before, was), (after, now) in pairwise(states):
            if after < before:
                yield f"run {run_id} fell from revision {before} to {after}"
            if was in TERMINAL and now != was:
                yield f"run {run_id} was {was} and then {now}"
            if was == "running" and now == "pending":
                yield f"run {run_id} went back from running to pending"
        if run_id in final and states[-1][1] in TERMINAL and states[-1][1] != final[run_id]:
            yield f"run {run_id} was shown as {states[-1][1]} and is {final[run_id]}"


def _followed_whole(history: History) -> Findings:
    """(b) Who follows events gets each that was committed, once, in commit order."""
    if history.followed is None:
        return
    committed = [event.cursor for event in history.events]
    got = [event.cursor for event in history.followed]
    place = {cursor: index for index, cursor in enumerate(committed)}
    if got and place.get(got[0]) is not None:
        committed = committed[place[got[0]] :]
    for cursor, times in Counter(got).items():
        if times > 1:
            yield f"event {cursor} came {times} times"
        if cursor not in place:
            yield f"event {cursor} was sent and is not in the list"
    known = [place[cursor] for cursor in got if cursor in place]
    if known != sorted(known):
        yield "events came out of order"
    missing = set(committed) - set(got)
    kinds = {event.cursor: event.kind for event in history.events}
    yield from (
        f"event {cursor} ({kinds[cursor]}) was committed and never sent"
        for cursor in sorted(missing)
    )


def _fences(history: History) -> Findings:
    """(c) Per target: attempts are numbered without holes, fences grow, one is open at a time."""
    assigned: Counter[int] = Counter()
    for run in history.runs:
        assigned.update(attempt.fence for attempt in run.attempts if attempt.fence)
        for target, attempts in _by_target(run.attempts):
            yield from _one_at_a_time(run, target, attempts)
    yield from (f"fence {fence} was given {n} times" for fence, n in assigned.items() if n > 1)
    newest: dict[str, int] = {}
    for effect in history.effects:
        if effect.fence < newest.get(effect.execution_id, 0):
            yield f"execution {effect.execution_id} acted under {effect.fence} after a newer fence"
        newest[effect.execution_id] = max(effect.fence, newest.get(effect.execution_id, 0))


def _one_at_a_time(run: Run, target: int, attempts: Sequence[Attempt]) -> Findings:
    numbers = [attempt.number for attempt in attempts]
    if numbers != list(range(1, len(attempts) + 1)):
        yield f"run {run.id} target {target} has attempts {numbers}"
    for earlier, later in pairwise(attempts):
        if later.fence and later.fence <= earlier.fence:
            yield f"run {run.id}: fence {later.fence} after {earlier.fence}"
        if earlier.finished_at is None or later.created_at < earlier.finished_at:
            yield f"run {run.id}: attempt {later.number} was made while {earlier.number} was open"


def _ends_once(history: History) -> Findings:
    """(d) Each attempt's end is taken exactly once; what else is reported of it is evidence."""
    ends = Counter(
        event.execution_id for event in history.events if event.kind == "execution.completed"
    )
    for run in history.runs:
        for attempt in run.attempts:
            if ends[attempt.id] != 1:
                yield f"execution {attempt.id} of {run.job} was completed {ends[attempt.id]} times"
    for execution_id, rows in history.evidence.items():
        if rows > MAX_EVIDENCE:
            yield f"execution {execution_id} has {rows} rows of evidence"


def _effects(history: History) -> Findings:
    """(e) What tasks did agrees with what is told of them, and with the delivery policy."""
    lines: dict[str, list[Effect]] = defaultdict(list)
    for effect in history.effects:
        lines[effect.execution_id].append(effect)
    known = {attempt.id for run in history.runs for attempt in run.attempts}
    yield from (
        f"something ran as {each}: no such execution" for each in lines if each not in known
    )
    for run in history.runs:
        policy = history.policies.get(run.job, Policy())
        yield from _followed_policy(run, policy)
        if policy.notes_effects:
            for attempt in run.attempts:
                yield from _did_what_it_says(run, attempt, lines.get(attempt.id, []))


def _did_what_it_says(run: Run, attempt: Attempt, lines: Sequence[Effect]) -> Findings:
    starts = [line for line in lines if line.what == "start"]
    ends = [line for line in lines if line.what == "end"]
    who = f"execution {attempt.id} of {run.job} ({attempt.state})"
    if len(starts) > 1:
        yield f"{who} started {len(starts)} times"
    if len(ends) > 1:
        yield f"{who} ended {len(ends)} times"
    if attempt.state in NEVER_STARTED and lines:
        yield f"{who} never started, and did {[line.what for line in lines]}"
    ran = attempt.state in ("succeeded", "failed") and attempt.reason != "start_failed"
    if ran and not starts:
        yield f"{who} did nothing"
    if attempt.state == "succeeded" and not ends:
        yield f"{who} did not come to its end"
    if attempt.started_at is None and starts:
        yield f"{who} has no start, and started"
    for line in lines:
        if line.fence != attempt.fence:
            yield f"{who} acted under fence {line.fence} instead of {attempt.fence}"


def _followed_policy(run: Run, policy: Policy) -> Findings:
    """Another attempt only after a reported failure, or a loss that may be run again."""
    for _, attempts in _by_target(run.attempts):
        losses = sum(attempt.state == "lost" for attempt in attempts)
        retries = len(attempts) - 1 - sum(a.state == "lost" for a in attempts[:-1])
        if retries > policy.retry_max:
            yield f"run {run.id} of {run.job} was retried {retries} times"
        if losses > QUARANTINE_AFTER:
            yield f"run {run.id} of {run.job} was lost {losses} times"
        for earlier in attempts[:-1]:
            again = {"failed", "timed_out"}
            if policy.delivery == "at_least_once":
                again.add("lost")
            if earlier.state not in again:
                yield (
                    f"run {run.id} of {run.job} ({policy.delivery}) went on after an attempt "
                    f"that {earlier.state}"
                )


def _instants(history: History) -> Findings:
    """(f) One row per nominal instant, and one run per row that has one."""
    rows = Counter((fire.job, fire.nominal_at) for fire in history.fires)
    for (job, at), times in rows.items():
        if times > 1:
            yield f"{job} has {times} rows for instant {at}"
    made = Counter((run.job, run.nominal_at) for run in history.runs if run.nominal_at is not None)
    for (job, at), times in made.items():
        if times > 1:
            yield f"{job} ran {times} times for instant {at}"
        if history.fires and (job, at) not in rows:
            yield f"{job} ran for instant {at}, which has no row"
    runs = {run.id for run in history.runs}
    for fire in history.fires:
        if not fire.run_id and not fire.reason:
            yield f"{fire.job} has neither run nor reason for instant {fire.nominal_at}"
        if fire.run_id and fire.run_id not in runs:
            yield f"{fire.job}'s row for {fire.nominal_at} names run {fire.run_id}: there is none"
    for job in {fire.job for fire in history.fires}:
        yield from _no_overlap(history, job)


def _no_overlap(history: History, job: str) -> Findings:
    fires = sorted((f for f in history.fires if f.job == job), key=lambda f: f.nominal_at)
    for earlier, later in pairwise(fires):
        if (earlier.until or earlier.nominal_at) >= later.nominal_at:
            yield f"{job}: the row of {earlier.nominal_at} covers the row of {later.nominal_at}"


def _outputs(history: History) -> Findings:
    """(g) Output is contiguous, gaps are explicit, and the bytes are those that were printed."""
    told = {e.execution_id: e.at for e in history.events if e.kind == "execution.completed"}
    for run in history.runs:
        policy = history.policies.get(run.job, Policy())
        size = policy.output_bytes
        for attempt in run.attempts:
            pieces = history.outputs.get(attempt.id)
            if pieces is None:
                continue
            yield from _contiguous(attempt.id, pieces)
            if size is not None:
                may_miss = policy.capped or was_killed(
                    history, LAUNCHER, attempt, told.get(attempt.id)
                )
                whole = attempt.state == "succeeded" and not may_miss
                yield from _printed(run, attempt, pieces, size, whole=whole)


def _contiguous(execution_id: str, pieces: Sequence[Piece]) -> Findings:
    at = 0
    for piece in pieces:
        if piece.offset != at:
            yield f"output of {execution_id} goes on at {piece.offset} after {at}"
        at = piece.offset + (len(piece.data) or piece.gap)


def _printed(
    run: Run, attempt: Attempt, pieces: Sequence[Piece], size: int, *, whole: bool
) -> Findings:
    """Whole where nothing may be missing; otherwise what there is, is where it belongs."""
    expected = stream_of(attempt.id, size)
    who = f"output of {attempt.id} of {run.job}"
    end = sum(len(piece.data) or piece.gap for piece in pieces)
    if attempt.state == "succeeded" and end != size:
        yield f"{who} has {end} of {size} bytes, gaps counted"
    if whole:
        gaps = sum(piece.gap for piece in pieces)
        data = b"".join(piece.data for piece in pieces)
        if gaps:
            yield f"{who} has gaps of {gaps} bytes"
        elif hashlib.sha256(data).digest() != hashlib.sha256(expected).digest():
            yield f"{who}: {len(data)} of {size} bytes, other hash"
        return
    for piece in pieces:
        if piece.data and expected[piece.offset : piece.offset + len(piece.data)] != piece.data:
            yield f"{who} at {piece.offset} is not what was printed"


def _audit(history: History) -> Findings:
    """(h) The audit log holds; each trigger that was let through has one entry, a schedule none."""
    if history.audit is None:
        return
    yield from (f"the audit log does not hold: {fault}" for fault in history.audit.faults)
    entries = Counter(history.audit.triggered)
    asked = {ack.run_id for ack in history.acknowledged}
    for run in history.runs:
        least, most = int(run.id in asked), int(run.nominal_at is None)
        if not least <= entries[run.id] <= most:
            yield f"run {run.id} of {run.job} has {entries[run.id]} entries of its trigger"
    known = {run.id for run in history.runs}
    yield from (f"an entry names run {each}: there is none" for each in entries.keys() - known)


def _limits(history: History) -> Findings:
    """(l) Attempts of a job that act at a time stay within `max_concurrent`."""
    job_of = {attempt.id: run.job for run in history.runs for attempt in run.attempts}
    limited = {job: p.max_concurrent for job, p in history.policies.items() if p.max_concurrent}
    # One whose end nobody saw may have been killed: it is out once it is known to have ended.
    closes = {effect.execution_id for effect in history.effects if effect.what == "end"}
    acting: dict[str, set[str]] = defaultdict(set)
    for effect in history.effects:
        job = job_of.get(effect.execution_id, "")
        if job not in limited or effect.execution_id not in closes:
            continue
        if effect.what == "end":
            acting[job].discard(effect.execution_id)
            continue
        acting[job].add(effect.execution_id)
        if len(acting[job]) > limited[job]:
            yield f"{len(acting[job])} executions of {job} acted at a time"


def _kinds_by_execution(events: Iterable[Happened]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if event.kind in ATTEMPT_EVENTS:
            kinds[event.execution_id].append(event.kind)
    return kinds


def _by_target(attempts: Iterable[Attempt]) -> Iterator[tuple[int, list[Attempt]]]:
    ordered = sorted(attempts, key=lambda attempt: (attempt.target, attempt.number))
    for target, group in groupby(ordered, key=lambda attempt: attempt.target):
        yield target, list(group)


RULES: tuple[tuple[str, Callable[[History], Findings]], ...] = (
    ("a", _acknowledged_once),
    ("a", _unasked_runs),
    ("b", _legal_events),
    ("b", _legal_watches),
    ("b", _followed_whole),
    ("c", _fences),
    ("d", _ends_once),
    ("e", _effects),
    ("f", _instants),
    ("g", _outputs),
    ("h", _audit),
    ("k", causeless),
    ("l", _limits),
    ("n", left_behind),
)
