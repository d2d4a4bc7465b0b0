"""The deliberately broken builds: how each breaks a promise, what provokes it, and who objects.

One fault each, where two mechanisms guard against it both are taken away. `rule` is the checker's
rule that must tell of it; others may too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.system.broken.edits import Edit

TRIGGERING = "kronforce/engine/triggering.py"
COMPLETION = "kronforce/engine/completion.py"
CREATING = "kronforce/store/hot/creating.py"
FINISHING = "kronforce/store/hot/finishing.py"
APPLY = "kronforce/store/hot/apply.py"
STATEMENTS = "kronforce/store/hot/statements.py"
ADMISSION = "kronforce/store/hot/admission.py"
REPORTS = "kronforce/engine/agents/reports.py"
INTAKE = "kronforce/engine/output.py"
SUPERVISOR = "agent/kronforce_agent/supervisor.py"
ENDINGS = "agent/kronforce_agent/endings.py"
LAUNCHED = "agent/kronforce_agent/launched.py"


@dataclass(frozen=True, kw_only=True)
class Broken:
    """`both`: also tried on PostgreSQL, because the store makes a difference."""

    fault: str
    edits: tuple[Edit, ...]
    provocation: str
    rule: str
    both: bool = False

    def __str__(self) -> str:
        return self.fault


def _edit(file: str, old: str, new: str) -> tuple[Edit, ...]:
    return (Edit(file=file, old=old, new=new),)


BUILDS: tuple[Broken, ...] = (
    # What callers are told.
    Broken(
        fault="a reply goes out before the commit",
        edits=_edit(TRIGGERING, "            await batch.wait()\n", ""),
        provocation="killed before a commit",
        rule="a",
        both=True,
    ),
    Broken(
        fault="a request id is not looked at",
        edits=_edit(
            CREATING,
            "    if tx.run(st.INSERT_REQUEST, rows) == len(rows):\n        return\n",
            "    tx.run(st.INSERT_REQUEST, rows)\n    return\n",
        ),
        provocation="nobody is killed",
        rule="a",
        both=True,
    ),
    Broken(
        fault="who follows events misses the first after each read",
        edits=_edit(
            "kronforce/store/commit_order.py",
            "return events.c.seq > position[1]",
            "return events.c.seq > position[1] + 1",
        ),
        provocation="nobody is killed",
        rule="b",
    ),
    Broken(
        fault="a start has no event",
        edits=_edit(
            FINISHING,
            "        events.append(started_event(start.live, start.at))\n",
            "",
        ),
        provocation="nobody is killed",
        rule="b",
    ),
    # Fences and ends.
    Broken(
        fault="all assignments of a batch get one fence",
        edits=_edit(APPLY, "        fence += 1\n", ""),
        provocation="nobody is killed",
        rule="c",
        both=True,
    ),
    Broken(
        fault="a report's fence is not looked at",
        edits=_edit(
            REPORTS,
            "live is None or live.fence != message.fence or live.agent_key",
            "live is None or live.agent_key",
        ),
        provocation="told wrongly",
        rule="e",
    ),
    Broken(
        fault="an end is taken as often as it is told",
        edits=(
            *_edit(
                COMPLETION,
                "        live.dones.append(done)\n        if live.finishing:\n            return\n",
                "        live.dones.append(done)\n",
            ),
            *_edit(
                STATEMENTS,
                '    where="t.key = :key AND t.fence = :fence AND t.phase > 0",\n',
                '    where="t.key = :key AND t.fence = :fence",\n',
            ),
        ),
        provocation="told wrongly",
        rule="d",
        both=True,
    ),
    Broken(
        fault="a result is acknowledged before it is stored",
        edits=_edit(
            COMPLETION,
            "        finish.then = committed\n        self._store.stage(finish)\n",
            "        finish.then = committed\n"
            "        for done in live.dones:\n"
            "            done()\n"
            "        self._timers.after(1.0, lambda: self._store.stage(finish))\n",
        ),
        provocation="killed after an acknowledgement",
        rule="k",
    ),
    # Delivery.
    Broken(
        fault="what may have happened is run again whatever the job says",
        edits=_edit(
            "kronforce/core/delivery.py",
            "if delivery is Delivery.AT_MOST_ONCE or cancelling:",
            "if cancelling:",
        ),
        provocation="launcher killed",
        rule="e",
    ),
    Broken(
        fault="one retry too many",
        edits=_edit(
            "kronforce/core/retry.py",
            "if tried > policy.retry_max",
            "if tried > policy.retry_max + 1",
        ),
        provocation="nobody is killed",
        rule="e",
    ),
    Broken(
        fault="a task starts before its assignment is recorded",
        edits=_edit(
            SUPERVISOR,
            "            self._journal.commit(lambda: self._recorded(intake))\n",
            "            self._recorded(intake)\n            self._journal.commit(lambda: None)\n",
        ),
        provocation="agent killed at its journal",
        rule="k",
    ),
    Broken(
        fault="the agent's journal is not synced",
        edits=_edit(
            "agent/kronforce_agent/segments.py",
            "            os.fdatasync(self._fd)\n            _after_sync()\n",
            "            _after_sync()\n",
        ),
        provocation="power cut",
        rule="k",
    ),
    Broken(
        fault="the agent forgets a result that was not acknowledged",
        edits=_edit(
            ENDINGS,
            "        self._outbox.put(held.report)\n\n",
            "        self._outbox.put(held.report)\n        self.acknowledged(held)\n\n",
        ),
        provocation="killed with a result in hand",
        rule="k",
    ),
    Broken(
        fault="heartbeats do not renew the lease",
        edits=_edit(
            "kronforce/engine/agents/sessions.py",
            "                session.last_heard = self._clock.monotonic()\n",
            "",
        ),
        provocation="nothing to say",
        rule="k",
    ),
    # Schedules.
    Broken(
        fault="an instant that has fired fires again",
        edits=_edit(
            CREATING,
            "    if tx.run(st.INSERT_FIRE, rows) != len(rows):\n",
            "    if tx.run(st.INSERT_FIRE, rows) > len(rows):\n",
        ),
        provocation="killed while it catches up",
        rule="f",
        both=True,
    ),
    Broken(
        fault="an instant is noted as skipped before the timing has moved on",
        edits=_edit(
            "kronforce/engine/firing.py",
            "            if fires and not await self._stage_all(",
            "            if planned.plan.skipped:\n"
            "                skips = [Skip(planned.row.key, to_us(s.first), to_us(s.last), "
            "s.count, s.reason,"
            " to_us(now), apart=True)"
            " for s in planned.plan.skipped]\n"
            "                await self._store.write(record_skips, skips)\n"
            "            if fires and not await self._stage_all(",
        ),
        provocation="killed while it catches up",
        rule="f",
    ),
    # Output.
    Broken(
        fault="output goes on one chunk too far after a restart of the agent",
        edits=_edit(
            LAUNCHED,
            "            held.output.last_sequence = task.acked_seq\n",
            "            held.output.last_sequence = task.acked_seq + 1\n",
        ),
        provocation="agent killed while it prints",
        rule="g",
    ),
    Broken(
        fault="output that comes again is stored again",
        edits=(
            *_edit(
                INTAKE,
                "        if chunk.sequence <= state.sequence and chunk.sequence:\n"
                "            continue\n",
                "",
            ),
            *_edit(
                INTAKE, "        if known is None or end <= known:\n", "        if known is None:\n"
            ),
            *_edit(
                INTAKE,
                "        if chunk.offset < known:\n",
                "        if chunk.offset < known < end:\n",
            ),
            *_edit(
                "kronforce/engine/views.py",
                "        end = row.start + row.length\n"
                "        if end <= known:\n"
                "            return\n"
                "        chunk = OutputChunk(stream=row.stream, offset=known,",
                "        known = row.start\n"
                "        end = row.start + row.length\n"
                "        chunk = OutputChunk(stream=row.stream, offset=known,",
            ),
        ),
        provocation="killed while it stores",
        rule="g",
    ),
    Broken(
        fault="a gap is not said",
        edits=_edit(
            "kronforce/engine/views.py",
            "            watcher.deliver(follower, gap)\n            known = row.start\n",
            "            known = row.start\n",
        ),
        provocation="nobody is killed",
        rule="g",
    ),
    # The audit log.
    Broken(
        fault="a trigger's audit entry is written with the next batch",
        edits=_edit(
            "kronforce/store/store.py",
            "        tx.noted.clear()\n"
            "        apply(tx, batch)\n"
            "        self.audit.write(tx, tx.noted)\n",
            "        late = list(tx.noted)\n"
            "        tx.noted.clear()\n"
            "        apply(tx, batch)\n"
            "        self.audit.write(tx, late)\n",
        ),
        provocation="killed after a commit",
        rule="h",
        both=True,
    ),
    # Limits and processes.
    Broken(
        fault="the limit of a job is not kept",
        edits=_edit(
            ADMISSION,
            "if slot.active < limit.max_concurrent and slot.waiting == 0:",
            "if slot.active < limit.max_concurrent + 1 and slot.waiting == 0:",
        ),
        provocation="nobody is killed",
        rule="l",
        both=True,
    ),
    Broken(
        fault="a slot is not given back",
        edits=_edit(ADMISSION, "            slot.active -= 1\n", "            slot.active -= 0\n"),
        provocation="nobody is killed",
        rule="a",
    ),
    Broken(
        fault="only the main process of a cancelled task is killed",
        edits=(
            *_edit(
                "agent/kronforce_agent/launcher/killer.py",
                "        return set().union(*members.values())\n",
                "        return {pid for victim, pids in members.items()"
                " for pid in pids if pid == victim.pid}\n",
            ),
            *_edit(
                "agent/kronforce_agent/launcher/loop.py",
                "        doomed, others = self._family.unwanted()\n",
                "        doomed, others = {}, False\n",
            ),
        ),
        provocation="nobody is killed",
        rule="n",
    ),
    Broken(
        fault="what a dead launcher left goes on",
        edits=_edit(
            "agent/kronforce_agent/launcher/cleanup.py",
            "        killed = _kill_tasks(paths)\n",
            "        killed = 0\n",
        ),
        provocation="agent and launcher killed",
        rule="n",
    ),
)
