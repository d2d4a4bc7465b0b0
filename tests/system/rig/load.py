"""A small mixed load: short and long, chatty and quiet, failing, cancelled, limited, scheduled.

Every job's attempts note what they do; the chatty ones print a stream that the checker knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.system.checker.history import Policy
from tests.system.rig.cluster import Cluster, patient, until
from tests.system.rig.recording import Recorder
from tests.system.rig.tasks import Notes, printing

CHATTY_BYTES = 400_000
LONG_BYTES = 60_000
# Longer than a process takes to be killed and started again on a busy machine.
LONG_PARTS, LONG_PAUSE_SECS = 10, 0.25
INSIDE_MS = 800

# What `fire_some` can be asked for: jobs, and what is done with them.
KINDS = (
    "short",
    "copied",
    "limited",
    "failing",
    "redelivered",
    "chatty",
    "long",
    "overdue",
    "inside",
    "cancelled at once",
    "cancelled while it runs",
)


class Load:
    """Makes the jobs and fires them; what each allows goes to the recorder."""

    def __init__(self, cluster: Cluster, recorder: Recorder, notes: Notes) -> None:
        self._client = cluster.client
        self._recorder = recorder
        self._notes = notes

    async def define(self) -> None:
        """Every job of the load."""
        note = self._notes.command
        await self._job("short", note("true"), Policy())
        await self._job(
            "long",
            note(printing(LONG_BYTES, parts=LONG_PARTS, pause_secs=LONG_PAUSE_SECS)),
            Policy(output_bytes=LONG_BYTES),
        )
        await self._job(
            "chatty",
            note(printing(CHATTY_BYTES, parts=20, pause_secs=0.02)),
            Policy(output_bytes=CHATTY_BYTES),
        )
        await self._job(
            "failing", note("false"), Policy(retry_max=2), retry_max=2, retry_delay_secs=0.2
        )
        await self._job("cancelled", note("sleep 60"), Policy(), kill_grace_secs=1)
        await self._job("limited", note("sleep 0.1"), Policy(max_concurrent=1), max_concurrent=1)
        await self._job(
            "redelivered",
            note("sleep 0.8"),
            Policy(delivery="at_least_once"),
            delivery="at_least_once",
        )
        await self._job(
            "overdue",
            note("sleep 60"),
            Policy(retry_max=1),
            run_timeout_secs=1,
            kill_grace_secs=1,
            retry_max=1,
        )
        await self._job(
            "ticking",
            note("true"),
            Policy(),
            schedule={"type": "cron", "value": "* * * * * *"},
            misfire_policy="run_all",
        )

        await self._client.jobs.create(
            {
                "name": "inside",
                "target": {"type": "any"},
                "task": {"type": "noop", "sleep_ms": INSIDE_MS},
            }
        )
        self._recorder.policies["inside"] = Policy(notes_effects=False, in_agent=True)

    async def fire_some(self, kinds: Sequence[str]) -> None:
        """Fire these at once."""
        await asyncio.gather(*(self._fire_kind(kind) for kind in kinds))

    async def _fire_kind(self, kind: str) -> None:
        if kind == "copied":
            await self._recorder.trigger("short", times=5)
        elif kind.startswith("cancelled"):
            await self._cancelled(kind, wait=kind == "cancelled while it runs")
        else:
            await self._recorder.trigger(kind)

    async def fire(self) -> None:
        """Fire it all at once, and cancel what is to be cancelled."""
        jobs = ["short"] * 4 + ["limited"] * 3
        jobs += ["redelivered", "failing", "chatty", "long", "overdue"]
        await asyncio.gather(
            self._recorder.trigger("short", times=5),
            *(self._recorder.trigger(job) for job in jobs),
            self._cancelled("early", wait=False),
            self._cancelled("late", wait=True),
        )

    async def again(self) -> None:
        """A few more of what is short: whatever must be hit once more is."""
        jobs = ["short", "short", "chatty", "failing", "limited", "limited"]
        await asyncio.gather(*(self._recorder.trigger(job) for job in jobs))

    async def stop_ticking(self) -> None:
        """No more fires, so that the load comes to an end."""

        async def paused() -> bool:
            await self._client.jobs.pause("ticking")
            return True

        await until(patient(paused), "the schedule to be held")

    async def _cancelled(self, _how: str, *, wait: bool) -> None:
        run_id = await self._recorder.trigger("cancelled")
        if wait:
            await until(patient(lambda: self._has_started(run_id)), "the task to start")
        await self._recorder.cancel(run_id)

    async def _has_started(self, run_id: str) -> bool:
        run = await self._client.runs.get(run_id)
        started = {effect.execution_id for effect in self._notes.effects()}
        over = run.HasField("finished_at")
        return over or any(execution.id in started for execution in run.executions)

    async def _job(self, name: str, command: str, policy: Policy, **settings: Any) -> None:
        definition = {
            "name": name,
            "target": {"type": "any"},
            "task": {"type": "shell", "command": command},
            **settings,
        }
        await self._client.jobs.create(definition)
        self._recorder.policies[name] = policy
