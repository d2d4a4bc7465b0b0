"""The table of held executions: every transition of an execution on this agent happens here.

Assignments come in by frame: all ACCEPTs of a frame are one group commit, and nothing starts
before it. An execution's result is durable before it is reported and stays in the table until it
is acknowledged. The supervisor knows no stream: it puts messages into the outbox, and when a
session begins it says what is held. Everything here is synchronous and runs on the event loop;
only in-agent tasks are awaited, in the task group that the agent owns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import execution_pb2 as ex
from kronforce_agent import held as holding
from kronforce_agent import outcome as outcomes
from kronforce_agent.clock import Clock
from kronforce_agent.failpoints import failpoint
from kronforce_agent.held import ACCEPTED, FINISHED, FINISHING, RECEIVED, RUNNING, Held
from kronforce_agent.inagent import InAgentRun
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.outbox import Outbox
from kronforce_agent.outcome import Outcome
from kronforce_agent.output import RELEASED, Chunk, OutputBuffer, OutputRouter
from kronforce_agent.records import Accept, Key
from kronforce_agent.tasks.kinds import CannotStart, Host, InAgentTask, ProcessTask
from kronforce_agent.tasks.shell import timeout_secs

log = logging.getLogger(__name__)

MAX_UNACKNOWLEDGED = 10_000
"""Results that wait for their acknowledgement; beyond it no new work is taken."""
MAX_UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024
"""The same in bytes: a controller that never acknowledges must not fill this process."""

_before_start = failpoint("agent.before_start")
_before_report = failpoint("agent.before_report")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What this agent takes."""

    slots: int
    max_unacknowledged: int = MAX_UNACKNOWLEDGED
    max_unacknowledged_bytes: int = MAX_UNACKNOWLEDGED_BYTES


class Supervisor:
    """Its collaborators are plain arguments; `launcher` gives the connection while there is one."""

    def __init__(
        self,
        *,
        journal: Journal,
        outbox: Outbox,
        router: OutputRouter,
        clock: Clock,
        runners: Mapping[str, ProcessTask | InAgentTask],
        host: Host,
        limits: Limits,
        launcher: Callable[[], LauncherClient | None],
    ) -> None:
        self._journal = journal
        self._outbox = outbox
        self._router = router
        self._clock = clock
        self._runners = runners
        self._host = host
        self._limits = limits
        self._launcher = launcher
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[Key, Held] = {}
        self._newest: dict[str, int] = {}
        self._intake: list[Held] = []
        self._busy = 0
        self._unacknowledged = 0
        self._unacknowledged_bytes = 0
        self._drains: dict[str, str] = {}
        self.boot_id = ""
        self.changed = asyncio.Event()
        """Set whenever an execution ended or left the table; waiters clear it."""
        self.reopen: Callable[[str], None] = lambda _reason: None
        """Ends the session so that the next one opens with another hello."""

    # ---- what a session asks ----------------------------------------------------------------

    @property
    def held_count(self) -> int:
        return len(self._held)

    def held(self) -> Iterable[Held]:
        """The table."""
        return self._held.values()

    def running(self) -> list[Held]:
        """Executions that have not ended."""
        return [held for held in self._held.values() if held.state != FINISHED]

    def inventory(self) -> pb.Inventory:
        return holding.inventory(self._held.values())

    def heartbeat(self) -> pb.AgentHeartbeat:
        return holding.heartbeat(self._held.values())

    def drop_unrecorded(self) -> None:
        """The stream ended: what is not durable must never start, so it is not in the inventory."""
        for held in [each for each in self._held.values() if each.state == RECEIVED]:
            held.dropped = True
            self._forget(held)

    def session_started(self, *, draining: bool) -> None:
        """After welcome: say whether work is taken, and report what ended meanwhile."""
        self._set_drain("controller", "the controller said so" if draining else "")
        local = self._local_drain()
        if local:
            self._send_drain(local)
        for held in self._held.values():
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

    # ---- assignments -------------------------------------------------------------------------

    def _assigned(self, message: pb.ControllerMessage) -> None:
        key = (message.execution_id, message.fence)
        held = self._held.get(key)
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
            self._take(key, message.assignment, held)

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
        if message.fence < self._newest.get(message.execution_id, 0):
            return pb.REJECT_REASON_REVOKED, "a newer fence of this execution is held"
        if assignment.expected_boot_id not in ("", self.boot_id):
            return pb.REJECT_REASON_REVOKED, "the boot id that it expects is gone"
        if known:
            return None  # it has been taken once: its place is kept
        if isinstance(runner, ProcessTask) and self._launcher() is None:
            return pb.REJECT_REASON_BUSY, "the launcher is being restarted"
        busy = self._why_busy()
        return (pb.REJECT_REASON_BUSY, busy) if busy else None

    def _why_busy(self) -> str:
        if self._drains:
            return next(iter(self._drains.values()))
        if self._busy >= self._limits.slots:
            return f"all {self._limits.slots} slots are taken"
        if (
            self._unacknowledged >= self._limits.max_unacknowledged
            or self._unacknowledged_bytes >= self._limits.max_unacknowledged_bytes
        ):
            return f"{self._unacknowledged} results wait for their acknowledgement"
        return ""

    def _take(self, key: Key, assignment: pb.Assignment, known: Held | None) -> None:
        arm = assignment.task.WhichOneof("kind") or ""
        runner = self._runners[arm]
        held = Held(key=key, arm=arm, assignment=assignment)
        held.is_process = isinstance(runner, ProcessTask)
        held.timeout_secs = timeout_secs(assignment)
        if self._newest.get(key[0], key[1]) < key[1]:
            self._end_older(key)
        self._held[key] = held
        self._newest[key[0]] = key[1]
        self._busy += 1
        if known is None or known.state != ACCEPTED:
            self._journal.accept(
                Accept(
                    execution_id=key[0],
                    fence=key[1],
                    at_micros=self._clock.micros(),
                    arm=arm,
                    boot_id=self.boot_id,
                    timeout_ms=int(held.timeout_secs * 1000),
                )
            )
        if isinstance(runner, InAgentTask):
            self._run_instant(held, runner)
        self._intake.append(held)

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
        self._stage_result(held, outcomes.of_exit_code(code), [chunk] if data else [])

    def _end_older(self, key: Key) -> None:
        """An older fence of the same execution ends; its result is evidence."""
        older = self._held.get((key[0], self._newest[key[0]]))
        if older is not None:
            self._end(older)

    def _recorded(self, intake: list[Held]) -> None:
        """Their ACCEPTs are durable: say so, and start them."""
        for held in intake:
            if held.dropped:
                self._journal.dropped(held.key)
                continue
            self._outbox.put(_accepted(held.key))
            if held.report:
                self._reported(held)
            elif held.cancelled:
                self._finish(held, outcomes.cancelled())
            else:
                _before_start()
                self._start(held)

    def _start(self, held: Held) -> None:
        held.state = RUNNING
        held.started_micros = self._clock.micros()
        runner = self._runners[held.arm]
        if isinstance(runner, ProcessTask):
            self._spawn(held, runner)
        else:
            self._start_in_agent(held, runner)

    def _spawn(self, held: Held, runner: ProcessTask) -> None:
        launcher = self._launcher()
        assert held.assignment is not None
        if launcher is None:
            return  # it died since: launcher_back ends this one
        try:
            spawn = runner.build(*held.key, held.assignment, self._host)
        except CannotStart as error:
            self._finish(held, outcomes.start_failed(str(error)))
            return
        credit = self._router.initial_credit
        held.output = self._open_output(held)
        held.output.source_credit = credit
        launcher.spawn(protocol.Spawn(**{**vars(spawn), "credit": credit}))

    def _start_in_agent(self, held: Held, runner: InAgentTask) -> None:
        assert held.assignment is not None
        task, held.assignment = held.assignment.task, None
        run = held.run = InAgentRun(held.key, self._router, self._clock)
        held.output = run.buffer

        def finished(outcome: Outcome, chunks: list[Chunk] | None) -> None:
            held.inline = chunks is not None
            self._finish(held, outcome, chunks or [])

        owned = asyncio.ensure_future(run.run(runner, task, held.timeout_secs, finished))
        self._tasks.add(owned)
        owned.add_done_callback(self._tasks.discard)

    def _open_output(self, held: Held) -> OutputBuffer:
        key = held.key

        def grant(amount: int) -> None:
            launcher = self._launcher()
            if launcher is not None:
                launcher.credit(*key, amount)

        def stored(sequence: int) -> None:
            launcher = self._launcher()
            if launcher is not None:
                launcher.ack_output(*key, sequence)

        return self._router.open(key, grant, stored)

    # ---- ends ----------------------------------------------------------------------------------

    def _finish(
        self, held: Held, outcome: Outcome, chunks: Sequence[Chunk] = (), ends: Ends | None = None
    ) -> None:
        """It ended: make that durable, then report it."""
        held.state = FINISHING
        held.assignment = None
        self._stage_result(held, outcome, chunks, ends)
        self._journal.commit(lambda: self._reported(held))

    def _stage_result(
        self, held: Held, outcome: Outcome, chunks: Sequence[Chunk], ends: Ends | None = None
    ) -> None:
        stdout, stderr = ends or _ends(held.output, chunks)
        held.report = outcomes.report(
            *held.key,
            outcome,
            started_micros=held.started_micros,
            finished_micros=self._clock.micros(),
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            output=[chunk.message() for chunk in chunks],
        )
        self._journal.result(held.key, held.report)

    def _reported(self, held: Held) -> None:
        """Its RESULT is durable: the launcher may forget it, the controller hears it."""
        held.state = FINISHED
        held.assignment = None
        self._busy -= 1
        self._unacknowledged += 1
        self._unacknowledged_bytes += len(held.report)
        launcher = self._launcher() if held.is_process else None
        if launcher is not None:
            if held.inline and held.output is not None:
                launcher.ack_output(*held.key, held.output.last_sequence)
            launcher.ack_exit(*held.key)
        _before_report()
        self._outbox.put(held.report)
        self.changed.set()

    def _acknowledged(self, message: pb.ControllerMessage) -> None:
        if message.acknowledge.kind != pb.ACKNOWLEDGE_KIND_RESULT:
            return
        held = self._held.get((message.execution_id, message.fence))
        if held is None or held.state != FINISHED:
            return
        self._unacknowledged -= 1
        self._unacknowledged_bytes -= len(held.report)
        self._journal.acknowledged(held.key)
        launcher = self._launcher() if held.is_process and not held.inline else None
        if launcher is not None and held.output is not None:
            launcher.ack_output(*held.key, held.output.last_sequence)
        self._forget(held)

    def _forget(self, held: Held) -> None:
        if self._held.get(held.key) is held:
            del self._held[held.key]
        if self._newest.get(held.key[0]) == held.key[1]:
            del self._newest[held.key[0]]
        if held.state == RECEIVED:
            self._busy -= 1
        if held.output is not None:
            self._router.forget(held.output)
        self.changed.set()

    def _cancel(self, message: pb.ControllerMessage) -> None:
        held = self._held.get((message.execution_id, message.fence))
        if held is not None:
            self._end(held)

    def _revoke(self, message: pb.ControllerMessage) -> None:
        """Not ours any more: never started, it never will; otherwise it ends, with a report."""
        key = (message.execution_id, message.fence)
        held = self._held.get(key)
        if held is not None and held.state in (RECEIVED, ACCEPTED):
            held.dropped = True
            self._journal.dropped(key)
            self._forget(held)
            held = None
        kept = self._journal.kept_result(key)
        if held is not None:
            self._end(held)
        elif kept is not None:
            self._outbox.put(kept)
        else:
            self._reject(message, pb.REJECT_REASON_REVOKED, "it was never started here")

    def _end(self, held: Held) -> None:
        """TERM, grace, KILL; or the report again if it has ended."""
        held.cancelled = True
        launcher = self._launcher()
        if held.state == FINISHED:
            self._outbox.put(held.report)
        elif held.run is not None:
            held.run.cancel()
        elif held.state == RUNNING and launcher is not None:
            launcher.cancel(*held.key)

    def _reject(
        self, message: pb.ControllerMessage, reason: pb.RejectReason.ValueType, text: str
    ) -> None:
        rejected = pb.Rejected(reason=reason, message=text)
        answer = pb.AgentMessage(
            execution_id=message.execution_id, fence=message.fence, rejected=rejected
        )
        self._outbox.put(answer.SerializeToString())

    # ---- draining ------------------------------------------------------------------------------

    def set_drain(self, cause: str, reason: str) -> None:
        """Take no new work because of `cause`; an empty reason takes that back."""
        before = self._local_drain()
        self._set_drain(cause, reason)
        after = self._local_drain()
        if bool(before) != bool(after):
            self._send_drain(after)

    def _controller_drain(self, message: pb.ControllerMessage) -> None:
        draining = message.drain.draining
        self._set_drain("controller", "the controller said so" if draining else "")

    def _set_drain(self, cause: str, reason: str) -> None:
        self._drains.pop(cause, None)
        if reason:
            self._drains[cause] = reason

    def _local_drain(self) -> str:
        return next((why for cause, why in self._drains.items() if cause != "controller"), "")

    def _send_drain(self, reason: str) -> None:
        drain = pb.AgentDrain(draining=bool(reason), reason=reason)
        self._outbox.put(pb.AgentMessage(drain=drain).SerializeToString())

    def _inventory_requested(self, _message: pb.ControllerMessage) -> None:
        self._outbox.put(pb.AgentMessage(inventory=self.inventory()).SerializeToString())

    def stop_all(self) -> None:
        """End everything that runs (--stop-tasks)."""
        for held in self.running():
            self._end(held)

    async def close(self) -> None:
        """Cancel what runs inside this agent; it ends `lost` after a restart."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # ---- the launcher --------------------------------------------------------------------------

    def recover(self, entries: Mapping[Key, Entry], inventory: protocol.Inventory | None) -> None:
        """After a start: journal × launcher's inventory gives the table. Before the first hello."""
        tasks = {(task.execution_id, task.fence): task for task in _tasks(inventory)}
        for key, entry in entries.items():
            self._recover(key, entry, tasks.pop(key, None))
        self._end_strangers(tasks.values())

    def _recover(self, key: Key, entry: Entry, task: protocol.TaskState | None) -> None:
        accept = entry.accept
        held = Held(key=key, arm=accept.arm if accept else "", started_micros=entry.started_micros)
        held.is_process = isinstance(self._runners.get(held.arm), ProcessTask) or task is not None
        held.timeout_secs = accept.timeout_ms / 1000 if accept else 0
        self._held[key] = held
        self._newest[key[0]] = max(key[1], self._newest.get(key[0], 0))
        if entry.message:
            self._busy += 1
            held.report = entry.message
            held.inline = bool(pb.AgentMessage.FromString(entry.message).result.output)
            self._reattach_output(held, task)
            if held.inline and held.output is not None and task is not None:
                held.output.last_sequence = task.last_seq
            self._reported(held)
        elif task is not None:
            self._busy += 1
            held.state = RUNNING
            self._reattach(held, task)
        elif accept and held.is_process and accept.boot_id == self.boot_id:
            held.state = ACCEPTED
        else:
            self._busy += 1
            lost = outcomes.launcher_died() if held.is_process else outcomes.agent_restarted()
            self._finish(held, lost)

    def _reattach(self, held: Held, task: protocol.TaskState) -> None:
        held.started_micros = task.started_at_micros
        self._reattach_output(held, task)
        if task.exit is not None:
            self._exited(task.exit)

    def _reattach_output(self, held: Held, task: protocol.TaskState | None) -> None:
        if task is None:
            return
        if held.output is None:
            held.output = self._open_output(held)
            held.output.hold = RELEASED
            held.output.sent = task.acked_seq > 0
            held.output.last_sequence = task.acked_seq
            held.output.ends = {1: task.stdout_acked, 2: task.stderr_acked}
        held.output.source_credit = 0
        self._router.top_up(held.output)

    def _end_strangers(self, tasks: Iterable[protocol.TaskState]) -> None:
        """The launcher holds them, the journal does not: nobody will ask for them again."""
        launcher = self._launcher()
        for task in tasks:
            if launcher is None:
                return
            launcher.cancel(task.execution_id, task.fence, grace_secs=0)
            launcher.ack_output(task.execution_id, task.fence, task.last_seq)
            launcher.ack_exit(task.execution_id, task.fence)

    def launcher_gone(self) -> None:
        """Nothing to decide yet: whether it died shows when one is back."""

    def launcher_back(self, boot_id: str, inventory: protocol.Inventory) -> None:
        """The same launcher again, or another one: then what the old one held is lost."""
        same = boot_id == self.boot_id
        self.boot_id = boot_id
        tasks = {(task.execution_id, task.fence): task for task in inventory.tasks}
        for held in [each for each in self._held.values() if each.is_process]:
            task = tasks.pop(held.key, None)
            if not same:
                self._lose(held)
            elif held.state == RUNNING and task is None:
                self._start(held)  # the command was void: it was never started
            elif task is not None:
                self._reattach(held, task) if held.state == RUNNING else self._again(held, task)
        self._end_strangers(tasks.values())
        if not same:
            self.reopen("the launcher was replaced")

    def _again(self, held: Held, task: protocol.TaskState) -> None:
        self._reattach_output(held, task)
        launcher = self._launcher()
        if held.state == FINISHED and launcher is not None:
            launcher.ack_exit(*held.key)

    def _lose(self, held: Held) -> None:
        """Its launcher died: an end that nobody saw is `lost`, output that nobody read is a gap."""
        if held.state == ACCEPTED:
            self._finish(held, outcomes.launcher_died())
            self._busy += 1
        elif held.state == RUNNING:
            self._finish(held, outcomes.launcher_died())
        elif held.report and not held.inline:
            self._fill_gaps(held)

    def _fill_gaps(self, held: Held) -> None:
        result = pb.AgentMessage.FromString(held.report).result
        buffer = held.output
        if buffer is None:
            return
        for stream, end in ((1, result.stdout_bytes), (2, result.stderr_bytes)):
            missing = end - buffer.ends[stream]
            if missing > 0:
                chunk = Chunk(
                    stream=stream,
                    offset=buffer.ends[stream],
                    sequence=buffer.last_sequence + 1,
                    at_micros=self._clock.micros(),
                    parts=[b""],
                    size=0,
                    gap=missing,
                )
                self._router.receive(buffer, chunk)
        self._router.release(buffer)

    def launcher_events(self, events: Sequence[protocol.Event]) -> None:
        """Handle a batch of the launcher's events."""
        for event in events:
            if isinstance(event, protocol.Output):
                self._output(event)
            elif isinstance(event, protocol.Started):
                self._started(event)
            elif isinstance(event, protocol.Exited):
                self._exited(event)
            elif isinstance(event, protocol.SpawnFailed):
                self._spawn_failed(event)
            elif isinstance(event, protocol.SpoolState):
                self.set_drain("spool", "the spool is nearly full" if event.full else "")

    def _output(self, event: protocol.Output) -> None:
        held = self._held.get((event.execution_id, event.fence))
        if held is None or held.output is None:
            return
        chunk = Chunk(
            stream=event.stream,
            offset=event.offset,
            sequence=event.seq,
            at_micros=event.at_micros,
            parts=[event.data],
            size=len(event.data),
            gap=event.gap,
        )
        self._router.receive(held.output, chunk)

    def _started(self, event: protocol.Started) -> None:
        held = self._held.get((event.execution_id, event.fence))
        if held is not None and held.state == RUNNING:
            held.started_micros = event.at_micros
            held.assignment = None
            self._journal.start(held.key, event.at_micros, event.pid)

    def _exited(self, event: protocol.Exited) -> None:
        held = self._held.get((event.execution_id, event.fence))
        if held is None or held.state != RUNNING:
            return
        held.started_micros = event.started_at_micros or held.started_micros
        chunks = None
        if held.output is not None:
            chunks = self._router.take_inline(held.output, event.last_seq)
        held.inline = chunks is not None
        outcome = outcomes.of_process(event, held.timeout_secs)
        self._finish(held, outcome, chunks or (), (event.stdout_end, event.stderr_end))

    def _spawn_failed(self, event: protocol.SpawnFailed) -> None:
        held = self._held.get((event.execution_id, event.fence))
        if held is not None and held.state == RUNNING:
            self._finish(held, outcomes.start_failed(event.message))


Ends = tuple[int, int]

_HANDLERS: Mapping[str, Callable[[Supervisor, pb.ControllerMessage], None]] = {
    "assignment": Supervisor._assigned,  # noqa: SLF001 - the table of this class's own handlers
    "cancel": Supervisor._cancel,  # noqa: SLF001
    "revoke": Supervisor._revoke,  # noqa: SLF001
    "acknowledge": Supervisor._acknowledged,  # noqa: SLF001
    "drain": Supervisor._controller_drain,  # noqa: SLF001
    "inventory_request": Supervisor._inventory_requested,  # noqa: SLF001
}


def _accepted(key: Key) -> bytes:
    message = pb.AgentMessage(execution_id=key[0], fence=key[1], accepted=pb.Accepted())
    return message.SerializeToString()


def _ends(buffer: OutputBuffer | None, chunks: Sequence[Chunk]) -> Ends:
    if buffer is not None:
        return buffer.ends[1], buffer.ends[2]
    return sum(chunk.size for chunk in chunks), 0


def _tasks(inventory: protocol.Inventory | None) -> Sequence[protocol.TaskState]:
    return inventory.tasks if inventory is not None else ()
