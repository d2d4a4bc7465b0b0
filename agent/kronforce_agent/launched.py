"""Executions whose process the launcher holds: starting them, what it says of them, finding them.

After an agent's restart the journal and the launcher's inventory together say where each one
stands; after a launcher's death what it held is lost. The launcher's own bookkeeping is not known
here, only its protocol.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent import outcome as outcomes
from kronforce_agent.clock import Clock
from kronforce_agent.endings import Endings
from kronforce_agent.held import ACCEPTED, FINISHED, FINISHING, RUNNING, Held
from kronforce_agent.journal import Entry, Journal
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.client import LauncherClient
from kronforce_agent.output import RELEASED, Chunk, OutputBuffer, OutputRouter
from kronforce_agent.records import Key
from kronforce_agent.secrets import SecretSets
from kronforce_agent.table import Table
from kronforce_agent.tasks import REGISTRY
from kronforce_agent.tasks.kinds import CannotStart, Host, ProcessTask

Tasks = dict[Key, protocol.TaskState]


class Launched:
    """`launcher` gives the connection while there is one."""

    def __init__(
        self,
        *,
        table: Table,
        journal: Journal,
        router: OutputRouter,
        endings: Endings,
        clock: Clock,
        host: Host,
        launcher: Callable[[], LauncherClient | None],
        secrets: SecretSets,
    ) -> None:
        self._table = table
        self._journal = journal
        self._router = router
        self._endings = endings
        self._clock = clock
        self._host = host
        self._launcher = launcher
        self._secrets = secrets

    def spawn(self, held: Held, runner: ProcessTask) -> None:
        """Give it to the launcher; without one it stays until one is back."""
        launcher = self._launcher()
        assert held.assignment is not None
        if launcher is None:
            return
        try:
            spawn = runner.build(*held.key, held.assignment, self._host)
        except CannotStart as error:
            self._endings.finish(held, outcomes.start_failed(str(error)))
            return
        if held.secrets is not None:
            spawn = dataclasses.replace(spawn, mask_set=self._secrets.tell(launcher, held.secrets))
        credit = self._router.initial_credit
        held.output = self._open_output(held.key)
        held.output.source_credit = credit
        launcher.spawn(dataclasses.replace(spawn, credit=credit))

    def cancel(self, held: Held) -> None:
        """TERM, grace, KILL."""
        launcher = self._launcher()
        if launcher is not None:
            launcher.cancel(*held.key)

    def tell_offline(self) -> None:
        """Say whether there is a session: without one nobody grants credit, so output is spooled.

        After each change, and to each new connection.
        """
        launcher = self._launcher()
        if launcher is not None:
            launcher.offline(not self._router.online)

    # ---- what the launcher says ----------------------------------------------------------------

    def on_event(self, event: protocol.Event) -> None:
        """One event; what is about an execution that is not held is ignored."""
        if isinstance(event, protocol.Output):
            self._output(event)
        elif isinstance(event, protocol.Started):
            self._started(event)
        elif isinstance(event, protocol.Exited):
            self._exited(event)
        elif isinstance(event, protocol.SpawnFailed):
            held = self._table.get((event.execution_id, event.fence))
            if held is not None and held.state == RUNNING:
                self._endings.finish(held, outcomes.start_failed(event.message))

    def _output(self, event: protocol.Output) -> None:
        held = self._table.get((event.execution_id, event.fence))
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
        held = self._table.get((event.execution_id, event.fence))
        if held is not None and held.state == RUNNING:
            held.started_micros = event.at_micros
            held.assignment = None
            self._journal.start(held.key, event.at_micros, event.pid)

    def _exited(self, event: protocol.Exited) -> None:
        held = self._table.get((event.execution_id, event.fence))
        if held is None or held.state != RUNNING:
            return
        held.started_micros = event.started_at_micros or held.started_micros
        chunks = None
        if held.output is not None:
            chunks = self._router.take_inline(held.output, event.last_seq)
        held.inline = chunks is not None
        outcome = outcomes.of_process(event, held.timeout_secs)
        ends = (event.stdout_end, event.stderr_end)
        # The launcher saw it end, which may be long ago: this agent may have been away.
        self._endings.finish(held, outcome, chunks or (), ends, event.ended_at_micros)

    # ---- after a restart of this agent ---------------------------------------------------------

    def recover(
        self, entries: Mapping[Key, Entry], inventory: Sequence[protocol.TaskState], boot_id: str
    ) -> None:
        """Journal × launcher's inventory gives the table. Before the first hello."""
        tasks = _by_key(inventory)
        for key, entry in entries.items():
            self._recover(key, entry, tasks.pop(key, None), boot_id)
        self._end_strangers(tasks)

    def _recover(
        self, key: Key, entry: Entry, task: protocol.TaskState | None, boot_id: str
    ) -> None:
        held = _held_of(key, entry)
        held.is_process |= task is not None
        self._table.add(held)
        if entry.message:
            self._recover_result(held, task)
        elif task is not None:
            self._table.move(held, RUNNING)
            self._reattach(held, task)
        elif held.is_process and entry.accept and entry.accept.boot_id == boot_id:
            self._table.move(held, ACCEPTED)
        else:
            lost = outcomes.launcher_died() if held.is_process else outcomes.agent_restarted()
            self._endings.finish(held, lost)

    def _recover_result(self, held: Held, task: protocol.TaskState | None) -> None:
        held.inline = bool(pb.AgentMessage.FromString(held.report).result.output)
        self._reattach_output(held, task)
        if held.inline and held.output is not None and task is not None:
            held.output.last_sequence = task.last_seq
        self._endings.report(held)

    # ---- after the launcher was gone -----------------------------------------------------------

    def back(
        self, inventory: Sequence[protocol.TaskState], restart: Callable[[Held], None]
    ) -> None:
        """The same launcher again; `restart` starts what it never heard of."""
        tasks = _by_key(inventory)
        for held in [each for each in self._table if each.is_process]:
            task = tasks.pop(held.key, None)
            if held.state == RUNNING and task is None:
                restart(held)  # the command was void: it was never started
            elif held.state == RUNNING and task is not None:
                self._reattach(held, task)
                if held.cancelled:
                    self.cancel(held)
            elif task is not None:
                self._reattach_output(held, task)
                self._ack_exit(held)
        self._end_strangers(tasks)

    def lost(self) -> None:
        """Another launcher: ends that nobody saw are `lost`, output that nobody read is a gap."""
        for held in [each for each in self._table if each.is_process]:
            if held.state in (ACCEPTED, RUNNING):
                self._endings.finish(held, outcomes.launcher_died())
            elif held.state in (FINISHING, FINISHED) and not held.inline:
                self._fill_gaps(held)

    def _fill_gaps(self, held: Held) -> None:
        result = pb.AgentMessage.FromString(held.report).result
        buffer = held.output
        if buffer is None:
            return
        for stream, end in ((1, result.stdout_bytes), (2, result.stderr_bytes)):
            missing = end - buffer.ends[stream]
            if missing > 0:
                self._router.receive(buffer, self._gap(buffer, stream, missing))
        self._router.release(buffer)

    def _gap(self, buffer: OutputBuffer, stream: int, missing: int) -> Chunk:
        return Chunk(
            stream=stream,
            offset=buffer.ends[stream],
            sequence=buffer.last_sequence + 1,
            at_micros=self._clock.micros(),
            parts=[b""],
            size=0,
            gap=missing,
        )

    def _reattach(self, held: Held, task: protocol.TaskState) -> None:
        held.started_micros = task.started_at_micros
        self._reattach_output(held, task)
        if task.exit is not None:
            self._exited(task.exit)

    def _reattach_output(self, held: Held, task: protocol.TaskState | None) -> None:
        """Output resumes after what was acknowledged; the launcher begins without credit."""
        if task is None:
            return
        if held.output is None:
            held.output = self._open_output(held.key)
            held.output.hold = RELEASED
            held.output.sent = task.acked_seq > 0
            held.output.last_sequence = task.acked_seq
            held.output.ends = {1: task.stdout_acked, 2: task.stderr_acked}
        held.output.source_credit = 0
        self._router.top_up(held.output)

    def _ack_exit(self, held: Held) -> None:
        launcher = self._launcher()
        if held.state == FINISHED and launcher is not None:
            launcher.ack_exit(*held.key)

    def _end_strangers(self, tasks: Tasks) -> None:
        """The launcher holds them, the journal does not: nobody will ask for them again."""
        launcher = self._launcher()
        for key, task in tasks.items():
            if launcher is not None:
                launcher.cancel(*key, grace_secs=0)
                launcher.ack_output(*key, task.last_seq)
                launcher.ack_exit(*key)

    def _open_output(self, key: Key) -> OutputBuffer:
        def grant(amount: int) -> None:
            launcher = self._launcher()
            if launcher is not None:
                launcher.credit(*key, amount)

        def stored(sequence: int) -> None:
            launcher = self._launcher()
            if launcher is not None:
                launcher.ack_output(*key, sequence)

        return self._router.open(key, grant, stored)


def _held_of(key: Key, entry: Entry) -> Held:
    accept = entry.accept
    arm = accept.arm if accept else ""
    held = Held(key=key, arm=arm, started_micros=entry.started_micros, report=entry.message)
    held.timeout_secs = accept.timeout_ms / 1000 if accept else 0
    held.is_process = isinstance(REGISTRY.get(arm), ProcessTask)
    return held


def _by_key(tasks: Iterable[protocol.TaskState]) -> Tasks:
    return {(task.execution_id, task.fence): task for task in tasks}
