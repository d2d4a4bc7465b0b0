"""The language between an agent and its launcher: frames over one AF_UNIX stream socket.

A frame is a 4-byte big-endian length, one byte of kind, and the body. Output and what comes with
every attempt is packed binary (half the cost of JSON, and a launcher's rate hangs on it); the rest
is a JSON object whose keys are the fields of the dataclasses below: unknown keys are ignored,
missing ones take their default. This module is pure: no I/O, and it imports neither grpc nor
anything else of ours, because the launcher may not.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

VERSION = 1

MAX_MASK_SETS = 64
"""Kept by a launcher: jobs with secrets of their own on one agent at a time, with room. Each costs
some 100 KB, up to a few MB where much is masked."""
MAX_FRAME = 32 * 1024 * 1024
"""One frame: a 4 MB command with its JSON escapes fits, a broken peer's length does not."""

STDOUT = 1
STDERR = 2

RUNNING = "running"
EXITED = "exited"

# Why a task could not be started (SpawnFailed.reason).
MISSING_PROGRAM = "missing_program"
MISSING_FOLDER = "missing_folder"
NOT_PERMITTED = "not_permitted"
TOO_BIG = "too_big"
RUN_AS_NEEDS_ROOT = "run_as_needs_root"
RUN_AS_UNKNOWN_USER = "run_as_unknown_user"
UNKNOWN_MASKS = "unknown_masks"
STALE_FENCE = "stale_fence"
NO_ROOM = "no_room"
CANCELLED = "cancelled"
SHUTTING_DOWN = "shutting_down"
BAD_COMMAND = "bad_command"
SYSTEM_ERROR = "system_error"


class ProtocolError(Exception):
    """The peer sent something that is no frame of this protocol; close the connection."""


# ---- agent to launcher -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Spawn:
    """Start one attempt. Idempotent by (execution_id, fence): a copy is answered, not started.

    A higher fence for an execution that the launcher still holds ends the older attempt first
    (kills its tree, drops its output); a lower one is refused with STALE_FENCE.
    """

    execution_id: str
    fence: int
    command: str = ""
    """Run as `sh -c command`; used when argv is empty."""
    argv: tuple[str, ...] = ()
    """Run directly, looked up in env's PATH."""
    cwd: str = ""
    """Absolute folder; empty means `/`."""
    env: dict[str, str] | None = None
    """The complete environment; the launcher adds KRONFORCE_EXECUTION_ID and nothing else."""
    run_as: str = ""
    """User name; needs a launcher that runs as root. Groups are that user's."""
    umask: int = 0o022
    timeout_secs: float = 0
    """Counted from the spawn on the launcher's monotonic clock; 0 is none."""
    kill_grace_secs: float = 10
    mask_set: str = ""
    """Name (hash) of a set sent with SetMasks on this connection or an earlier one; empty: none."""
    leave_background: bool = False
    """True leaves what the main process left behind alone after a normal end."""
    credit: int = 0
    """Output bytes that may be sent at once, as if a Credit followed."""


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """TERM to the attempt's tree, KILL after grace_secs (None: the attempt's own grace)."""

    execution_id: str
    fence: int
    grace_secs: float | None = None


@dataclass(frozen=True, kw_only=True)
class Credit:
    """Let the launcher send `amount` bytes more of this attempt's output, beside what is left.

    A new connection begins with no credit for any attempt. One chunk (64 KiB) may overdraw it.
    """

    execution_id: str
    fence: int
    amount: int


@dataclass(frozen=True, kw_only=True)
class AckOutput:
    """Every chunk up to and including `seq` is safe elsewhere: the launcher forgets it."""

    execution_id: str
    fence: int
    seq: int


@dataclass(frozen=True, kw_only=True)
class AckExit:
    """The exit is in the agent's journal. With all output acknowledged the attempt is forgotten."""

    execution_id: str
    fence: int


@dataclass(frozen=True, kw_only=True)
class SetMasks:
    """Secrets to mask in the output of attempts that name this set. Kept in memory only.

    The last MAX_MASK_SETS of them are known, in the order in which they were said last; one that a
    waiting Spawn names stays until it is started.
    """

    mask_set: str
    secrets: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"SetMasks({self.mask_set}, {len(self.secrets)} secrets)"


@dataclass(frozen=True, kw_only=True)
class Offline:
    """Whether the agent is without a controller, so that nobody grants credit.

    While it is, every task's output is read at once, whatever its credit, and spooled. A new
    connection begins with `on` False.
    """

    on: bool


@dataclass(frozen=True, kw_only=True)
class InventoryRequest:
    """Ask for an Inventory now; one comes by itself after Welcome."""


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """End every attempt (TERM, its grace, KILL), report the exits, then end the launcher.

    The launcher stays until the exits are acknowledged or the agent has closed the connection.
    """

    grace_secs: float | None = None
    """None: each attempt's own grace."""


# ---- launcher to agent -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """First frame of a connection; an Inventory follows it at once."""

    version: int
    boot_id: str
    pid: int
    spool_full: bool = False


@dataclass(frozen=True, kw_only=True)
class Started:
    """The attempt runs (also the answer to a repeated Spawn)."""

    execution_id: str
    fence: int
    pid: int
    at_micros: int
    """Wall clock, microseconds UTC."""


@dataclass(frozen=True, kw_only=True)
class SpawnFailed:
    """Nothing was started and nothing is kept; `message` says what to do about it."""

    execution_id: str
    fence: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """One chunk of one stream, or a gap where `gap` bytes were dropped (then data is empty).

    `seq` grows by at least one over both streams of an attempt; `offset` counts redacted bytes of
    its stream, so offset + len(data) (or + gap) is where the stream's next chunk begins. Resent
    chunks are identical to what was sent before, apart from gaps that may have grown.
    """

    execution_id: str
    fence: int
    seq: int
    stream: int
    offset: int
    at_micros: int
    data: bytes
    gap: int = 0


@dataclass(frozen=True, kw_only=True)
class Exited:
    """How the attempt ended; kept by the launcher until AckExit.

    Exactly one of exit_code and signal is set. It may overtake output that waits for credit: the
    final offsets say where each stream ends.
    """

    execution_id: str
    fence: int
    exit_code: int | None
    signal: int | None
    timed_out: bool = False
    cancelled: bool = False
    stdout_end: int = 0
    stderr_end: int = 0
    last_seq: int = 0
    """Seq of the last chunk, 0 when there was no output."""
    started_at_micros: int = 0
    ended_at_micros: int = 0
    output_cut: bool = False
    """Something still wrote a second after the main process was gone, and was cut off."""
    leftovers: int = 0
    """Processes that a timeout or cancel could not get rid of (uninterruptible); normally 0."""
    killed: int = 0
    """Processes beside the main one that were left of it and got a KILL."""


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """One attempt that the launcher holds."""

    execution_id: str
    fence: int
    state: str
    """RUNNING or EXITED."""
    pid: int
    started_at_micros: int
    acked_seq: int
    """Output resumes after this chunk, as soon as there is credit; 0: from the first."""
    last_seq: int
    stdout_acked: int
    stderr_acked: int
    """Offset of each stream from which output will be resent."""
    stdout_end: int
    stderr_end: int
    exit: Exited | None = None
    """Set when exited; it is not sent again as an event of its own."""
    exit_acked: bool = False


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything the launcher holds; what is not here it does not know."""

    tasks: tuple[TaskState, ...]


@dataclass(frozen=True, kw_only=True)
class SpoolState:
    """Sent when it changes: a full spool (80 %) means that the agent should take no new work."""

    full: bool
    used_bytes: int
    limit_bytes: int


Command = (
    Spawn | Cancel | Credit | AckOutput | AckExit | SetMasks | Offline | InventoryRequest | Shutdown
)
Event = Welcome | Started | SpawnFailed | Output | Exited | Inventory | SpoolState
Message = Command | Event

# ---- frames ------------------------------------------------------------------------------------

_OUTPUT_KIND = 64
_CREDIT_KIND = 3
_ACK_OUTPUT_KIND = 4
_ACK_EXIT_KIND = 5
_STARTED_KIND = 66
_EXITED_KIND = 68
_KINDS: dict[int, type[Any]] = {
    1: Spawn,
    2: Cancel,
    6: SetMasks,
    7: InventoryRequest,
    8: Shutdown,
    9: Offline,
    65: Welcome,
    67: SpawnFailed,
    69: Inventory,
    70: SpoolState,
}
_NUMBERS = {cls: number for number, cls in _KINDS.items()}
_NAMES = {cls: frozenset(f.name for f in fields(cls)) for cls in _NUMBERS}
_EXIT_NAMES = frozenset(f.name for f in fields(Exited))
_TASK_NAMES = frozenset(f.name for f in fields(TaskState))

_HEAD = struct.Struct("!IB")
_LENGTH = struct.Struct("!I")
_OUTPUT = struct.Struct("!QQQQQBB")
_FENCE = struct.Struct("!Q")
_FENCE_AND_ONE = struct.Struct("!QQ")
_FENCE_AND_TWO = struct.Struct("!QQQ")
_EXIT = struct.Struct("!QiiBQQQQQII")
_NO_CODE = -1
_TIMED_OUT, _CANCELLED, _CUT = 1, 2, 4


def encode(message: Message) -> bytes:
    """One message as one frame."""
    packer = _PACKERS.get(type(message))
    if packer is not None:
        return packer(message)
    kind = _NUMBERS[type(message)]
    body = json.dumps(_to_json(message), separators=(",", ":")).encode()
    return _HEAD.pack(len(body) + 1, kind) + body


def encode_output(chunk: Output) -> bytes:
    """An output chunk as one frame: header, execution id, raw bytes."""
    name = chunk.execution_id.encode()
    head = _OUTPUT.pack(
        chunk.fence, chunk.seq, chunk.offset, chunk.at_micros, chunk.gap, chunk.stream, len(name)
    )
    size = 1 + len(head) + len(name) + len(chunk.data)
    return b"".join((_HEAD.pack(size, _OUTPUT_KIND), head, name, chunk.data))


def _packed(kind: int, numbers: bytes, execution_id: str) -> bytes:
    name = execution_id.encode()
    return _HEAD.pack(1 + len(numbers) + len(name), kind) + numbers + name


def _pack_credit(m: Credit) -> bytes:
    return _packed(_CREDIT_KIND, _FENCE_AND_ONE.pack(m.fence, m.amount), m.execution_id)


def _pack_ack_output(m: AckOutput) -> bytes:
    return _packed(_ACK_OUTPUT_KIND, _FENCE_AND_ONE.pack(m.fence, m.seq), m.execution_id)


def _pack_ack_exit(m: AckExit) -> bytes:
    return _packed(_ACK_EXIT_KIND, _FENCE.pack(m.fence), m.execution_id)


def _pack_started(m: Started) -> bytes:
    return _packed(_STARTED_KIND, _FENCE_AND_TWO.pack(m.fence, m.pid, m.at_micros), m.execution_id)


def _pack_exited(m: Exited) -> bytes:
    flags = m.timed_out * _TIMED_OUT | m.cancelled * _CANCELLED | m.output_cut * _CUT
    numbers = _EXIT.pack(
        m.fence,
        _NO_CODE if m.exit_code is None else m.exit_code,
        _NO_CODE if m.signal is None else m.signal,
        flags,
        m.stdout_end,
        m.stderr_end,
        m.last_seq,
        m.started_at_micros,
        m.ended_at_micros,
        m.leftovers,
        m.killed,
    )
    return _packed(_EXITED_KIND, numbers, m.execution_id)


_PACKERS: dict[type[Any], Callable[[Any], bytes]] = {
    Output: encode_output,
    Credit: _pack_credit,
    AckOutput: _pack_ack_output,
    AckExit: _pack_ack_exit,
    Started: _pack_started,
    Exited: _pack_exited,
}


class FrameReader:
    """Turns a byte stream back into messages; feed it whatever arrived."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`. Raises ProtocolError on anything malformed."""
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._wanted:  # a large frame is joined once, not once per piece
            return []
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        messages = []
        position = 0
        for start, end in _frames(buffer):
            messages.append(decode(buffer, start, end))
            position = end
        self._keep(buffer[position:])
        return messages

    def _keep(self, rest: bytes) -> None:
        self._parts = [rest] if rest else []
        self._held = len(rest)
        self._wanted = _LENGTH.unpack_from(rest)[0] + 4 if len(rest) >= 4 else 0


def _frames(buffer: bytes) -> Iterator[tuple[int, int]]:
    position, size = 0, len(buffer)
    while size - position >= 4:
        (length,) = _LENGTH.unpack_from(buffer, position)
        if not 0 < length <= MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes is outside 1..{MAX_FRAME}")
        end = position + 4 + length
        if end > size:
            return
        yield position + 4, end
        position = end


_UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, RecursionError, struct.error)


def decode(buffer: bytes, start: int, end: int) -> Message:
    """The message whose kind byte is at `start` and whose body ends before `end`."""
    kind = buffer[start]
    try:
        unpack = _UNPACKERS.get(kind)
        if unpack is not None:
            return unpack(buffer, start + 1, end)
        body = json.loads(buffer[start + 1 : end])
        return _from_json(_KINDS[kind], body)
    except _UNREADABLE as error:
        raise ProtocolError(f"a frame of kind {kind} cannot be read: {error!r}") from error


def _decode_output(buffer: bytes, start: int, end: int) -> Output:
    fence, seq, offset, at, gap, stream, size = _OUTPUT.unpack_from(buffer, start)
    name_at = start + _OUTPUT.size
    data_at = name_at + size
    return Output(
        execution_id=buffer[name_at:data_at].decode(),
        fence=fence,
        seq=seq,
        stream=stream,
        offset=offset,
        at_micros=at,
        data=buffer[data_at:end],
        gap=gap,
    )


def _unpack_credit(buffer: bytes, start: int, end: int) -> Credit:
    fence, amount = _FENCE_AND_ONE.unpack_from(buffer, start)
    name = buffer[start + _FENCE_AND_ONE.size : end].decode()
    return Credit(execution_id=name, fence=fence, amount=amount)


def _unpack_ack_output(buffer: bytes, start: int, end: int) -> AckOutput:
    fence, seq = _FENCE_AND_ONE.unpack_from(buffer, start)
    name = buffer[start + _FENCE_AND_ONE.size : end].decode()
    return AckOutput(execution_id=name, fence=fence, seq=seq)


def _unpack_ack_exit(buffer: bytes, start: int, end: int) -> AckExit:
    (fence,) = _FENCE.unpack_from(buffer, start)
    return AckExit(execution_id=buffer[start + _FENCE.size : end].decode(), fence=fence)


def _unpack_started(buffer: bytes, start: int, end: int) -> Started:
    fence, pid, at = _FENCE_AND_TWO.unpack_from(buffer, start)
    name = buffer[start + _FENCE_AND_TWO.size : end].decode()
    return Started(execution_id=name, fence=fence, pid=pid, at_micros=at)


def _unpack_exited(buffer: bytes, start: int, end: int) -> Exited:
    numbers = _EXIT.unpack_from(buffer, start)
    fence, code, number, flags, out, err, seq, began, ended, left, killed = numbers
    return Exited(
        execution_id=buffer[start + _EXIT.size : end].decode(),
        fence=fence,
        exit_code=None if code == _NO_CODE else code,
        signal=None if number == _NO_CODE else number,
        timed_out=bool(flags & _TIMED_OUT),
        cancelled=bool(flags & _CANCELLED),
        output_cut=bool(flags & _CUT),
        stdout_end=out,
        stderr_end=err,
        last_seq=seq,
        started_at_micros=began,
        ended_at_micros=ended,
        leftovers=left,
        killed=killed,
    )


_UNPACKERS: dict[int, Callable[[bytes, int, int], Message]] = {
    _OUTPUT_KIND: _decode_output,
    _CREDIT_KIND: _unpack_credit,
    _ACK_OUTPUT_KIND: _unpack_ack_output,
    _ACK_EXIT_KIND: _unpack_ack_exit,
    _STARTED_KIND: _unpack_started,
    _EXITED_KIND: _unpack_exited,
}


def _to_json(message: Message) -> dict[str, Any]:
    if isinstance(message, SetMasks):
        secrets = [base64.b64encode(each).decode() for each in message.secrets]
        return {"mask_set": message.mask_set, "secrets": secrets}
    if isinstance(message, Inventory):
        return {"tasks": [_task_to_json(task) for task in message.tasks]}
    return vars(message)


def _task_to_json(task: TaskState) -> dict[str, Any]:
    return {**vars(task), "exit": vars(task.exit) if task.exit else None}


def _from_json(cls: type[Any], body: dict[str, Any]) -> Message:
    known = _NAMES[cls]
    values = {name: value for name, value in body.items() if name in known}
    convert = _CONVERT.get(cls)
    message: Message = cls(**(convert(values) if convert else values))
    return message


def _spawn_values(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "argv": tuple(values.get("argv", ()))}


def _mask_values(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "secrets": tuple(base64.b64decode(each) for each in values["secrets"])}


def _inventory_values(values: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": tuple(_task_from_json(task) for task in values["tasks"])}


def _task_from_json(body: dict[str, Any]) -> TaskState:
    values = {name: value for name, value in body.items() if name in _TASK_NAMES}
    if values.get("exit"):
        known = {name: value for name, value in values["exit"].items() if name in _EXIT_NAMES}
        values["exit"] = Exited(**known)
    return TaskState(**values)


_CONVERT: dict[type[Any], Callable[[dict[str, Any]], dict[str, Any]]] = {
    Spawn: _spawn_values,
    SetMasks: _mask_values,
    Inventory: _inventory_values,
}
