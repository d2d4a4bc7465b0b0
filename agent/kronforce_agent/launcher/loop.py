"""The launcher's loop: one thread, one turn at a time, one send to the agent per turn.

A turn calls whoever is ready, reaps, runs due timers, starts at most SPAWNS_PER_TURN processes (so
that a burst's first output does not wait for all of it), looks for strays if an attempt has ended,
and sends. A command that fails is reported and never ends the loop.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any

from kronforce_agent.failpoints import failpoint
from kronforce_agent.launcher import protocol
from kronforce_agent.launcher.attempt import CANCELLED, SUPERSEDED, Attempt, Surroundings
from kronforce_agent.launcher.backlog import LAUNCHER_MEMORY, Backlog
from kronforce_agent.launcher.clock import Clock
from kronforce_agent.launcher.family import Family, SubtreeFinder
from kronforce_agent.launcher.killer import Killer
from kronforce_agent.launcher.killing import kill_until_quiet
from kronforce_agent.launcher.link import Link, peer_is_us
from kronforce_agent.launcher.poller import Poller
from kronforce_agent.launcher.process import SpawnError, Starter
from kronforce_agent.launcher.sections import MemoryBudget
from kronforce_agent.launcher.spool import Spool
from kronforce_agent.launcher.starts import Start, StartsFile
from kronforce_agent.launcher.timers import Timer, Timers
from kronforce_redaction import MaskSet

log = logging.getLogger(__name__)

SPAWNS_PER_TURN = 4
"""A spawn takes 0.3 ms: output that is ready waits for no more than four of them."""
STARTED_WAIT_SECS = 0.002
"""How long a Started may wait for the first output or the exit, to leave with it."""
IDLE_SECS = 60.0
"""Without an agent, a process, unacknowledged output or an unjournalled exit: nobody needs us."""
SHUTDOWN_ACK_SECS = 10.0
"""After the last task's end, how long a connected agent may take to journal the exits."""
STRAY_CHECK_SECS = 1.0
"""How often strays that could not be killed yet are looked at again."""
MAX_ATTEMPTS = 10_000
"""Held at once, ended but unacknowledged ones included; an inventory stays below 10 MB."""
MAX_FAILURES = 20
"""Turns that may fail one after the other before the launcher gives up, with a traceback."""
ACCEPT_RETRY_SECS = 1.0
"""When there is no descriptor left for a new connection."""

ENDING_SIGNALS = frozenset((signal.SIGTERM, signal.SIGINT))

_before_spawn = failpoint("launcher.before_spawn")
_after_spawn = failpoint("launcher.after_spawn")
_before_output = failpoint("launcher.before_output")
_before_exit = failpoint("launcher.before_exit")
_after_ack_exit = failpoint("launcher.after_ack_exit")


class Launcher:
    """Everything that happens in the launcher process after its start."""

    def __init__(
        self,
        *,
        boot_id: str,
        listener: socket.socket,
        wakeup: socket.socket,
        spool: Spool,
        starts: StartsFile,
        clock: Clock,
    ) -> None:
        self._boot_id = boot_id
        self._listener = listener
        self._wakeup = wakeup
        self._spool = spool
        self._starts = starts
        self._clock = clock
        self._poller = Poller()
        self._timers = Timers()
        self._family = Family()
        self._memory = MemoryBudget(LAUNCHER_MEMORY)
        self._starter = Starter()
        self._killer = Killer(self._family, self._timers, clock)
        self._around = Surroundings(
            clock=clock,
            poller=self._poller,
            timers=self._timers,
            killer=self._killer,
            on_output=self._pump,
            on_ended=self._attempt_ended,
        )
        self._attempts: dict[str, Attempt] = {}
        self._waiting: dict[str, protocol.Spawn] = {}
        self._successors: dict[str, protocol.Spawn] = {}
        self._unsent: dict[str, Attempt] = {}
        self._masks: dict[str, MaskSet] = {}
        self._link: Link | None = None
        self._spool_full = False
        self._offline = False
        self._look_for_strays = False
        self._untold: list[Attempt] = []
        self._stray_timer: Timer | None = None
        self._soon: Timer | None = None
        self._shutting_down = False
        self._done = False
        self._failures = 0
        self._idle_since = clock.monotonic()
        self._signals: set[int] = set()
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            protocol.Spawn: self._on_spawn,
            protocol.Cancel: self._on_cancel,
            protocol.Credit: self._on_credit,
            protocol.AckOutput: self._on_ack_output,
            protocol.AckExit: self._on_ack_exit,
            protocol.SetMasks: self._on_set_masks,
            protocol.Offline: self._on_offline,
            protocol.InventoryRequest: lambda _: self._send_inventory(),
            protocol.Shutdown: lambda command: self.shut_down(command.grace_secs),
        }

    # ---- the loop ------------------------------------------------------------------------------

    def run(self) -> None:
        """Until idle for IDLE_SECS, or shut down."""
        self._listen()
        self._poller.watch(self._wakeup.fileno(), self._woken)
        self._watch_idle()
        while not self._done:
            self._guarded_turn()
        self._kill_rest()
        if self._link is not None:
            self._link.close()
        self._poller.close()

    def _guarded_turn(self) -> None:
        """Whatever goes wrong in one turn, the others' tasks go on; a loop of failures does not."""
        try:
            self.turn()
            self._failures = 0
        except Exception:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise
            log.exception("a turn of the loop failed")

    def turn(self) -> None:
        """Wait for something to do, and do it."""
        self._poller.run_ready(self._patience())
        if self._link is not None and self._link.urgent:
            self._poller.run_ready(0.0)  # a short run's exit is often there by now: one send less
        self._reap()
        self._timers.run_due(self._clock.monotonic())
        self._start_waiting()
        self._killer.work()
        if self._look_for_strays:
            self._kill_strays()
        if self._untold:
            self._tell_exits()
        self._send_everything()

    def shut_down(self, grace_secs: float | None) -> None:
        """End every attempt, then the loop; a second call only shortens the grace."""
        self._shutting_down = True
        for spawn in self._waiting.values():
            self._refuse(spawn, protocol.SHUTTING_DOWN, "the launcher is ending")
        self._waiting.clear()
        for attempt in list(self._attempts.values()):
            attempt.end(CANCELLED, grace_secs)
        self._end_if_finished()

    def _patience(self) -> float | None:
        room = self._link is not None and self._link.has_room
        if self._waiting or self._look_for_strays or self._untold or (self._unsent and room):
            return 0.0
        deadline = self._timers.next_deadline()
        return None if deadline is None else max(0.0, deadline - self._clock.monotonic())

    def _woken(self) -> None:
        self._signals.update(self._wakeup.recv(4096))

    def _reap(self) -> None:
        if not self._signals:
            return
        signals, self._signals = self._signals, set()
        for number in signals & ENDING_SIGNALS:
            log.info("signal %d: ending every task, then this launcher", number)
            self.shut_down(None)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt = self._family.main_gone(pid)
            if isinstance(attempt, Attempt):
                attempt.main_exited(status)

    # ---- the agent's connection ----------------------------------------------------------------

    def _listen(self) -> None:
        self._poller.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("a connection cannot be accepted: %s", error)
            self._poller.unwatch(self._listener.fileno())
            self._timers.at(self._clock.monotonic() + ACCEPT_RETRY_SECS, self._listen)
            return
        if not peer_is_us(sock):
            log.warning("a connection by another user was refused")
            sock.close()
            return
        self._drop_link()
        self._link = Link(sock, self._poller)
        self._poller.watch(self._link.fd, self._receive)
        self._offline = False
        self._spool_full = self._spool.full
        self._link.send(
            protocol.Welcome(
                version=protocol.VERSION,
                boot_id=self._boot_id,
                pid=os.getpid(),
                spool_full=self._spool_full,
            )
        )
        self._send_inventory()
        for attempt in self._attempts.values():
            attempt.connection_changed(True)

    def _drop_link(self) -> None:
        """What the agent that is gone had asked for and was not begun is void."""
        if self._link is None:
            return
        self._link.close()
        self._link = None
        self._waiting.clear()
        self._successors.clear()
        self._unsent.clear()
        for attempt in self._attempts.values():
            attempt.connection_changed(False)
        self._end_if_finished()
        self._watch_idle()

    def _receive(self) -> None:
        assert self._link is not None
        try:
            commands = self._link.receive()
        except (OSError, protocol.ProtocolError) as error:
            log.info("the agent's connection ended: %s", error)
            self._drop_link()
            return
        for command in commands:
            self._obey(command)

    def _obey(self, command: protocol.Message) -> None:
        handler = self._handlers.get(type(command))
        if handler is None:
            log.warning("%s is no command", type(command).__name__)
            return
        try:
            handler(command)
        except Exception as error:
            log.exception("a %s failed", type(command).__name__)
            if isinstance(command, protocol.Spawn):
                self._refuse(command, protocol.SYSTEM_ERROR, f"the launcher failed: {error!r}")

    def _send(self, message: protocol.Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _send_inventory(self) -> None:
        self._send(protocol.Inventory(tasks=tuple(a.state() for a in self._attempts.values())))

    def _send_everything(self) -> None:
        self._starts.flush(self._starts_alive)
        if self._unsent:
            self._pump_round()
        if self._spool.full != self._spool_full:
            self._spool_full = self._spool.full
            self._send(
                protocol.SpoolState(
                    full=self._spool_full,
                    used_bytes=self._spool.used_bytes,
                    limit_bytes=self._spool.limit_bytes,
                )
            )
        if self._link is not None and self._link.urgent:
            try:
                self._link.flush()
            except OSError as error:
                log.info("the agent's connection broke: %s", error)
                self._drop_link()

    # ---- commands ------------------------------------------------------------------------------

    def _on_spawn(self, spawn: protocol.Spawn) -> None:
        held = self._attempts.get(spawn.execution_id)
        if self._shutting_down:
            self._refuse(spawn, protocol.SHUTTING_DOWN, "the launcher is ending")
        elif held is not None:
            self._spawn_again(held, spawn)
        elif spawn.execution_id in self._waiting:
            self._spawn_while_waiting(spawn)
        else:
            self._queue(spawn)

    def _queue(self, spawn: protocol.Spawn) -> None:
        if len(self._attempts) + len(self._waiting) >= MAX_ATTEMPTS:
            self._refuse(
                spawn, protocol.NO_ROOM, f"the launcher holds {MAX_ATTEMPTS} attempts already"
            )
        else:
            self._waiting[spawn.execution_id] = spawn

    def _spawn_while_waiting(self, spawn: protocol.Spawn) -> None:
        queued = self._waiting[spawn.execution_id]
        if spawn.fence > queued.fence:
            del self._waiting[spawn.execution_id]
            self._refuse(queued, protocol.STALE_FENCE, f"fence {spawn.fence} came after it")
            self._queue(spawn)
        elif spawn.fence < queued.fence:
            self._refuse_stale(spawn, queued.fence)

    def _spawn_again(self, held: Attempt, spawn: protocol.Spawn) -> None:
        """A copy is answered; a newer attempt waits until the older one's tree is gone."""
        if spawn.fence < held.fence:
            self._refuse_stale(spawn, held.fence)
        elif spawn.fence == held.fence:
            self._send(held.started())
            if held.exit is not None:
                self._send(held.exit)
        elif held.exit is not None:
            self._forget(held)
            self._queue(spawn)
        else:
            self._successors[spawn.execution_id] = spawn
            held.end(SUPERSEDED, 0)

    def _refuse_stale(self, spawn: protocol.Spawn, fence: int) -> None:
        self._refuse(spawn, protocol.STALE_FENCE, f"an attempt with fence {fence} is newer")

    def _refuse(self, spawn: protocol.Spawn, reason: str, message: str) -> None:
        self._send(
            protocol.SpawnFailed(
                execution_id=spawn.execution_id, fence=spawn.fence, reason=reason, message=message
            )
        )

    def _on_cancel(self, command: protocol.Cancel) -> None:
        attempt = self._find(command.execution_id, command.fence)
        if attempt is not None:
            attempt.end(CANCELLED, command.grace_secs)
            return
        queued = self._waiting.get(command.execution_id)
        if queued is not None and queued.fence == command.fence:
            del self._waiting[command.execution_id]
            self._refuse(queued, protocol.CANCELLED, "cancelled before it was started")

    def _on_credit(self, command: protocol.Credit) -> None:
        attempt = self._find(command.execution_id, command.fence)
        if attempt is not None and (attempt.exit is None or attempt.backlog.has_unsent):
            attempt.grant(command.amount)
            self._pump(attempt)

    def _on_ack_output(self, command: protocol.AckOutput) -> None:
        attempt = self._find(command.execution_id, command.fence)
        if attempt is not None:
            attempt.backlog.ack(command.seq)
            self._forget_if_over(attempt)

    def _on_ack_exit(self, command: protocol.AckExit) -> None:
        attempt = self._find(command.execution_id, command.fence)
        if attempt is not None and attempt.exit is not None:
            attempt.exit_acked = True
            self._forget_if_over(attempt)
            _after_ack_exit()

    def _on_set_masks(self, command: protocol.SetMasks) -> None:
        self._masks.pop(command.mask_set, None)
        self._masks[command.mask_set] = MaskSet.of_secrets(command.secrets)
        if len(self._masks) > protocol.MAX_MASK_SETS:
            self._forget_masks()

    def _forget_masks(self) -> None:
        """The oldest first, up to one that a spawn still waits for."""
        waiting = chain(self._waiting.values(), self._successors.values())
        needed = {spawn.mask_set for spawn in waiting}
        while len(self._masks) > protocol.MAX_MASK_SETS:
            oldest = next(iter(self._masks))
            if oldest in needed:
                return
            del self._masks[oldest]

    def _on_offline(self, command: protocol.Offline) -> None:
        self._offline = command.on
        for attempt in self._attempts.values():
            attempt.controller_changed(offline=command.on)

    def _find(self, execution_id: str, fence: int) -> Attempt | None:
        attempt = self._attempts.get(execution_id)
        return attempt if attempt is not None and attempt.fence == fence else None

    # ---- attempts ------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        spawns = list(islice(self._waiting.values(), SPAWNS_PER_TURN))
        self._starts.announce([spawn.execution_id for spawn in spawns])
        for spawn in spawns:
            del self._waiting[spawn.execution_id]
            try:
                self._start(spawn)
            except SpawnError as error:
                self._refuse(spawn, error.reason, error.message)
            except Exception as error:
                log.exception("starting %s failed", spawn.execution_id)
                self._refuse(spawn, protocol.SYSTEM_ERROR, f"the launcher failed: {error!r}")

    def _start(self, spawn: protocol.Spawn) -> None:
        masks = self._masks.get(spawn.mask_set)
        if spawn.mask_set and masks is None:
            raise SpawnError(protocol.UNKNOWN_MASKS, f"no mask set {spawn.mask_set!r} is known")
        start_ticks = self._clock.boot_ticks()
        _before_spawn()
        process = self._starter.start(spawn)
        _after_spawn()
        backlog = Backlog(spawn.execution_id, spawn.fence, self._spool, self._memory)
        attempt = Attempt(
            spawn,
            process,
            start_ticks,
            backlog,
            masks,
            self._around,
            connected=self._link is not None,
            offline=self._offline,
        )
        self._attempts[spawn.execution_id] = attempt
        self._family.add(attempt)
        self._starts.add(Start(process.pid, start_ticks, spawn.execution_id))
        self._tell_soon(attempt.started())

    def _tell_soon(self, started: protocol.Started) -> None:
        """A short run's start leaves with its output and exit, a longer one's does not wait."""
        if self._link is not None:
            self._link.send_with_next(started)
            if self._soon is None:
                due = self._clock.monotonic() + STARTED_WAIT_SECS
                self._soon = self._timers.at(due, self._soon_is_now)

    def _soon_is_now(self) -> None:
        self._soon = None
        if self._link is not None:
            self._link.urgent = True

    def _attempt_ended(self, attempt: Attempt) -> None:
        self._family.ended(attempt)
        self._look_for_strays = True
        successor = self._successors.pop(attempt.execution_id, None)
        if successor is not None or attempt.ending == SUPERSEDED:
            self._forget(attempt)
        elif attempt.exit is not None:
            self._untold.append(attempt)
        if successor is not None:
            self._queue(successor)
        self._end_if_finished()

    def _tell_exits(self) -> None:
        """In the turn of their end, once what they left behind has been looked for."""
        ended, self._untold = self._untold, []
        for attempt in ended:
            if attempt.exit is not None:
                _before_exit()
                self._send(attempt.exit)

    def _forget_if_over(self, attempt: Attempt) -> None:
        if attempt.forgettable:
            self._forget(attempt)
            self._end_if_finished()

    def _forget(self, attempt: Attempt) -> None:
        attempt.backlog.delete()
        self._attempts.pop(attempt.execution_id, None)
        self._unsent.pop(attempt.execution_id, None)
        if not self._attempts and self._link is None:
            self._watch_idle()

    def _starts_alive(self) -> list[Start]:
        open_attempts = (a for a in self._attempts.values() if a.exit is None)
        return [Start(a.pid, a.start_ticks, a.execution_id) for a in open_attempts]

    # ---- output --------------------------------------------------------------------------------

    def _pump(self, attempt: Attempt) -> None:
        """Send what its credit and the connection allow; then read on, or pause."""
        link, backlog = self._link, attempt.backlog
        if link is not None:
            while attempt.credit > 0 and backlog.has_unsent and link.has_room:
                _before_output()
                entry = backlog.next()
                attempt.credit -= entry.size
                link.push(entry.frame)
            if attempt.credit > 0 and backlog.has_unsent:
                self._unsent[attempt.execution_id] = attempt
        attempt.update_reading()

    def _pump_round(self) -> None:
        """Those that the connection had no room for, whoever waited longest first."""
        waiting = list(self._unsent.values())
        self._unsent.clear()
        for attempt in waiting:
            self._pump(attempt)

    # ---- strays --------------------------------------------------------------------------------

    def _kill_strays(self) -> None:
        self._look_for_strays = False
        doomed, others = self._family.unwanted()
        if doomed:
            finder = SubtreeFinder(doomed)
            self._killer.kill_strays(finder)
            self._count_strays(finder.found)
        if (doomed or others) and self._stray_timer is None:
            due = self._clock.monotonic() + STRAY_CHECK_SECS
            self._stray_timer = self._timers.at(due, self._strays_due)

    def _count_strays(self, found: Mapping[str, set[int]]) -> None:
        """Put them down to those who ended just now; a later find is nobody's any more."""
        hidden = len(found.get("", ())) if len(self._untold) == 1 else 0
        for attempt in self._untold:
            attempt.strays_killed(len(found.get(attempt.execution_id, ())) + hidden)

    def _strays_due(self) -> None:
        self._stray_timer = None
        self._look_for_strays = True

    def _kill_rest(self) -> None:
        """At the end there is no later turn: stay until what must go is gone."""
        doomed, _ = self._family.unwanted()
        if doomed:
            kill_until_quiet(SubtreeFinder(doomed))

    # ---- the end -------------------------------------------------------------------------------

    def _watch_idle(self) -> None:
        """The clock of idleness starts anew with each change that leaves us without an agent."""
        self._timers.at(self._clock.monotonic() + IDLE_SECS, self._end_if_idle)
        self._idle_since = self._clock.monotonic()

    def _end_if_idle(self) -> None:
        idle = self._clock.monotonic() - self._idle_since >= IDLE_SECS
        if idle and self._link is None and not self._attempts:
            log.info("idle for %d s without an agent: ending", IDLE_SECS)
            self._done = True

    def _end_if_finished(self) -> None:
        if not self._shutting_down or any(a.exit is None for a in self._attempts.values()):
            return
        if self._link is None or not self._attempts:
            self._done = True
            return
        due = self._clock.monotonic() + SHUTDOWN_ACK_SECS
        self._timers.at(due, self._give_up_waiting)

    def _give_up_waiting(self) -> None:
        self._done = True
