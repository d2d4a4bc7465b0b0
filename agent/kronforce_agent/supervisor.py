"""What the controller says, turned into changes of the table: assign, cancel, revoke, acknowledge.

Assignments come in by frame: all ACCEPTs of a frame are one group commit, and nothing starts
before it. The supervisor knows no stream: it puts messages into the outbox, and when a session
begins it says what is held. How executions end is `endings`', what the launcher has `launched`'s
business. Everything here is synchronous and runs on the event loop; only in-agent tasks are
awaited, and `close` ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import outcome as outcomes
from kronforce_agent.clock import Clock
from kronforce_agent.drains import Drains
from kronforce_agent.endings import Endings
from kronforce_agent.failpoints import failpoint
from kronforce_agent.held import ACCEPTED, FINISHED, RECEIVED, RUNNING, Held
from kronforce_agent.inagent import InAgentRun
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launched import Launched
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.outbox import Outbox
from kronforce_agent.outcome import Outcome
from kronforce_agent.output import Chunk, OutputRouter
from kronforce_agent.records import Accept, Key
from kronforce_agent.secrets import SecretSets
from kronforce_agent.table import Limits, Table
from kronforce_agent.tasks.kinds import Host, InAgentTask, ProcessTask
from kronforce_agent.tasks.shell import timeout_secs

_before_start = failpoint("agent.before_start")

Runner = ProcessTask | InAgentTask


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a supervisor is made of; `launcher` gives the connection while there is one."""

    journal: Journal
    outbox: Outbox
    router: OutputRouter
    clock: Clock
    launcher: Callable[[], LauncherClient | None]
    host: Host
    limits: Limits


class Supervisor:
    """The agent's decisions; one per process."""

    def __init__(self, parts: Parts, runners: Mapping[str, Runner]) -> None:
        self._journal = parts.journal
        self._outbox = parts.outbox
        self._router = parts.router
        self._clock = parts.clock
        self._launcher = parts.launcher
        self._runners = runners
        self._tasks: set[asyncio.Task[None]] = set()
        self._intake: list[Held] = []
        self._secrets = SecretSets()
        self.table = Table(parts.limits)
        self.drains = Drains(parts.outbox)
        self._endings = Endings(
            table=self.table,
            journal=parts.journal,
            outbox=parts.outbox,
            router=parts.router,
            clock=parts.clock,
            launcher=parts.launcher,
        )
        self._launched = Launched(
            table=self.table,
            journal=parts.journal,
            router=parts.router,
            endings=self._endings,
            clock=parts.clock,
            host=parts.host,
            launcher=parts.launcher,
            secrets=self._secrets,
        )
        self.boot_id = ""
        self.reopen: Callable[[str], None] = lambda _reason: None
        """Ends the session so that the next one opens with another hello."""

    # ---- sessions ------------------------------------------------------------------------------

    def session_ended(self) -> None:
        """The stream ended: what is not durable must never start, so it is not in the inventory.

        Processes go on; what they print is spooled.
        """
        self._launched.tell_offline()
        for held in self.table:
            if held.state == RECEIVED:
                held.dropped = True
                self._endings.forget(held)

    def session_started(self, *, draining: bool) -> None:
        """After welcome: say whether work is taken, and report what ended meanwhile."""
        self._launched.tell_offline()
        self.drains.set_by_controller(draining)
        self.drains.tell_again()
        for held in self.table:
            if held.state == FINISHED:
                self._outbox.put(held.report)

    def on_messages(self, messages: Iterable[pb.ControllerMessage]) -> None:
        """Handle one frame of the controller's."""
        for message in messages:
            kind = message.WhichOneof("message")
            handler = _HANDLERS.get(kind) if kind else None
            if handler is not None:
                handler(self, message)
            elif message.execution_id and kind is None:
                self._reject(message, pb.REJECT_REASON_UNSUPPORTED, "unknown kind of message")
        if self._intake:
            intake, self._intake = self._intake, []
            self._journal.commit(lambda: self._recorded(intake))

    def stop_all(self) -> None:
        """End everything that runs (--stop-tasks)."""
        for held in self.table:
            if held.state != FINISHED:
                self._end(held, asked=False)

    async def close(self) -> None:
        """Cancel what runs inside this agent; it ends `lost` after a restart."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # ---- assignments ---------------------------------------------------------------------------

    def _assigned(self, message: pb.ControllerMessage) -> None:
        key = (message.execution_id, message.fence)
        held = self.table.get(key)
        if held is not None and held.state != ACCEPTED:
            self._repeat(held)
            return
        kept = self._journal.kept_result(key)
        if kept is not None:
            self._outbox.put(_accepted(key))
            self._outbox.put(kept)
            return
        refusal = self._refusal(message, known=held is not None)
        if refusal is not None:
            self._reject(message, *refusal)
        else:
            self._take(key, message.assignment, recorded=held is not None)

    def _repeat(self, held: Held) -> None:
        """The same assignment again: say again what was said."""
        if held.state != RECEIVED:
            self._outbox.put(_accepted(held.key))
        if held.state == FINISHED:
            self._outbox.put(held.report)

    def _refusal(
        self, message: pb.ControllerMessage, *, known: bool
    ) -> tuple[pb.RejectReason.ValueType, str] | None:
        assignment = message.assignment
        arm = assignment.task.WhichOneof("kind")
        runner = self._runners.get(arm) if arm else None
        if runner is None:
            return pb.REJECT_REASON_UNSUPPORTED, f"this agent runs {', '.join(self._runners)}"
        if message.fence < self.table.newest(message.execution_id):
            return pb.REJECT_REASON_REVOKED, "a newer fence of this execution is held"
        if assignment.expected_boot_id not in ("", self.boot_id):
            return pb.REJECT_REASON_REVOKED, "the boot id that it expects is gone"
        if assignment.secrets:
            try:
                self._secrets.of(assignment.secrets)
            except ValueError as error:
                return pb.REJECT_REASON_UNSUPPORTED, f"what it must mask is too much: {error}"
        if known:
            return None  # it has been taken once: its place is kept
        busy = self.drains.reason or self.table.full()
        if isinstance(runner, ProcessTask) and self._launcher() is None:
            busy = "the launcher is being restarted"
        return (pb.REJECT_REASON_BUSY, busy) if busy else None

    def _take(self, key: Key, assignment: pb.Assignment, *, recorded: bool) -> None:
        arm = assignment.task.WhichOneof("kind") or ""
        runner = self._runners[arm]
        held = Held(key=key, arm=arm, assignment=assignment)
        held.is_process = isinstance(runner, ProcessTask)
        held.timeout_secs = timeout_secs(assignment)
        if assignment.secrets:
            held.secrets = self._secrets.of(assignment.secrets)
        self._end_older(key)
        self.table.add(held)
        if not recorded:
            self._journal.accept(self._accept(held))
        if isinstance(runner, InAgentTask) and held.secrets is None:
            self._run_instant(held, runner)
        self._intake.append(held)

    def _end_older(self, key: Key) -> None:
        """An older fence of the same execution ends; its result is evidence."""
        fence = self.table.newest(key[0])
        older = self.table.get((key[0], fence)) if fence else None
        if older is not None and fence < key[1]:
            self._end(older, asked=True)

    def _accept(self, held: Held) -> Accept:
        return Accept(
            execution_id=held.key[0],
            fence=held.key[1],
            at_micros=self._clock.micros(),
            arm=held.arm,
            boot_id=self.boot_id,
            timeout_ms=int(held.timeout_secs * 1000),
        )

    def _run_instant(self, held: Held, runner: InAgentTask) -> None:
        """A task without effect and duration has its result in the same commit as its ACCEPT.

        The rule behind "ACCEPT before start" is that a crash must not hide an effect; this has
        none, so either both are durable, or neither and it was never started.
        """
        assert held.assignment is not None
        instant = runner.instant(held.assignment.task)
        if instant is None:
            return
        code, data = instant
        now = held.started_micros = self._clock.micros()
        chunk = Chunk(
            stream=ex.OUTPUT_STREAM_STDOUT,
            offset=0,
            sequence=1,
            at_micros=now,
            parts=[data],
            size=len(data),
        )
        held.inline = True
        self._endings.stage(held, outcomes.of_exit_code(code), [chunk] if data else [])

    def _recorded(self, intake: list[Held]) -> None:
        """Their ACCEPTs are durable: say so, and start them."""
        for held in intake:
            if held.dropped:
                self._journal.dropped(held.key)
                continue
            self._outbox.put(_accepted(held.key))
            if held.report:
                self._endings.report(held)
            else:
                _before_start()
                self._start(held)

    def _start(self, held: Held) -> None:
        if held.cancelled:
            self._endings.finish(held, outcomes.cancelled())
            return
        self.table.move(held, RUNNING)
        held.started_micros = self._clock.micros()
        runner = self._runners[held.arm]
        if isinstance(runner, ProcessTask):
            self._launched.spawn(held, runner)
        else:
            self._start_in_agent(held, runner)

    def _start_in_agent(self, held: Held, runner: InAgentTask) -> None:
        assert held.assignment is not None
        task, held.assignment = held.assignment.task, None
        run = held.run = InAgentRun(held.key, self._router, self._clock, held.secrets)
        held.output = run.buffer

        def finished(outcome: Outcome, chunks: list[Chunk] | None) -> None:
            held.inline = chunks is not None
            self._endings.finish(held, outcome, chunks or [], ended_micros=run.ended_micros)

        owned = asyncio.ensure_future(run.run(runner, task, held.timeout_secs, finished))
        self._tasks.add(owned)
        owned.add_done_callback(self._tasks.discard)

    # ---- everything else that the controller says ----------------------------------------------

    def _acknowledged(self, message: pb.ControllerMessage) -> None:
        held = self.table.get((message.execution_id, message.fence))
        is_result = message.acknowledge.kind == pb.ACKNOWLEDGE_KIND_RESULT
        if is_result and held is not None and held.state == FINISHED:
            self._endings.acknowledged(held)

    def _cancel(self, message: pb.ControllerMessage) -> None:
        held = self.table.get((message.execution_id, message.fence))
        if held is not None:
            self._end(held, asked=True)

    def _revoke(self, message: pb.ControllerMessage) -> None:
        """Not ours any more: never started, it never will; otherwise it ends, with a report."""
        key = (message.execution_id, message.fence)
        held = self.table.get(key)
        if held is not None and held.state in (RECEIVED, ACCEPTED):
            held.dropped = True
            self._journal.dropped(key)
            self._endings.forget(held)
            held = None
        kept = self._journal.kept_result(key)
        if held is not None:
            self._end(held, asked=True)
        elif kept is not None:
            self._outbox.put(kept)
        else:
            self._reject(message, pb.REJECT_REASON_REVOKED, "it was never started here")

    def _end(self, held: Held, *, asked: bool) -> None:
        """TERM, grace, KILL; or the report again if it has ended. `asked`: by the controller."""
        held.cancelled = True
        held.asked |= asked
        if held.state == FINISHED:
            self._outbox.put(held.report)
        elif held.state == ACCEPTED:
            self._endings.finish(held, outcomes.cancelled())
        elif held.run is not None:
            held.run.cancel()
        elif held.state == RUNNING:
            self._launched.cancel(held)

    def _reject(
        self, message: pb.ControllerMessage, reason: pb.RejectReason.ValueType, text: str
    ) -> None:
        rejected = pb.Rejected(reason=reason, message=text)
        answer = pb.AgentMessage(
            execution_id=message.execution_id, fence=message.fence, rejected=rejected
        )
        self._outbox.put(answer.SerializeToString())

    def _drain(self, message: pb.ControllerMessage) -> None:
        self.drains.set_by_controller(message.drain.draining)

    def _inventory_requested(self, _message: pb.ControllerMessage) -> None:
        answer = pb.AgentMessage(inventory=self.table.inventory())
        self._outbox.put(answer.SerializeToString())

    # ---- the launcher --------------------------------------------------------------------------

    def recover(self, entries: Mapping[Key, Entry], inventory: protocol.Inventory | None) -> None:
        """After a start, before the first hello: what an earlier agent left."""
        self._launched.recover(entries, inventory.tasks if inventory else (), self.boot_id)
        self._launched.tell_offline()

    def launcher_back(
        self, boot_id: str, inventory: protocol.Inventory, *, spool_full: bool
    ) -> None:
        """The same launcher again, or another one: then what the old one held is lost."""
        self.spool_is(full=spool_full)
        self._launched.tell_offline()
        if boot_id == self.boot_id:
            self._launched.back(inventory.tasks, self._start)
            return
        self.boot_id = boot_id
        self._launched.lost()
        self.reopen("the launcher was replaced")

    def spool_is(self, *, full: bool) -> None:
        """A full one (80 %) means no new work."""
        self.drains.set("spool", "the spool is nearly full" if full else "")

    def launcher_events(self, events: Sequence[protocol.Event]) -> None:
        """Handle a batch of the launcher's events."""
        for event in events:
            if isinstance(event, protocol.SpoolState):
                self.spool_is(full=event.full)
            else:
                self._launched.on_event(event)


_HANDLERS: Mapping[str, Callable[[Supervisor, pb.ControllerMessage], None]] = {
    "assignment": Supervisor._assigned,  # noqa: SLF001 - the table of this class's own handlers
    "cancel": Supervisor._cancel,  # noqa: SLF001
    "revoke": Supervisor._revoke,  # noqa: SLF001
    "acknowledge": Supervisor._acknowledged,  # noqa: SLF001
    "drain": Supervisor._drain,  # noqa: SLF001
    "inventory_request": Supervisor._inventory_requested,  # noqa: SLF001
}


def _accepted(key: Key) -> bytes:
    message = pb.AgentMessage(execution_id=key[0], fence=key[1], accepted=pb.Accepted())
    return message.SerializeToString()
