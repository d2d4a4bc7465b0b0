"""One call, as the servicers see it: who calls, what they may touch, how long they wait.

A servicer subclasses the generated base and takes `(request, call)`; it never
sees grpc. Whoever makes the call (the gRPC edge, or the local transport) fills
in the fields, and says when the caller has gone. A call belongs to one event
loop and is not thread safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kronforce.core.access import Role, Scope
from kronforce.engine.agents.changes import OPEN
from kronforce.errors import KronforceError
from kronforce.v1 import api_key_pb2

# What metadata values are: text, or bytes under keys that end in `-bin`.
MetadataValue = str | bytes

# What a peer's address is for callers inside this process, and for those on a socket file.
LOCAL_PEER = "local"
UNIX_PEER = "unix"

# Longer ids of requests are no ids.
MAX_REQUEST_ID = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who calls.

    `key` is the row's number in `api_keys`, `id` its public id, `role` a number
    of `kronforce.v1.Role`. An agent's credential gives kind `agent`, key 0, the
    agent's id as `id`, and the agent's row number and id bytes beside it. `peer` and `surface`
    say from where this call came and which way: the audit log keeps them.
    """

    key: int
    id: str
    name: str
    role: int
    kind: Literal["key", "agent", "public"] = "key"
    agent_key: int | None = None
    agent_id: bytes | None = None
    peer: str = ""
    surface: str = ""
    # The only surface that its key opens; empty: any.
    only: str = ""


# Whoever calls a public method without a key, and what they see: nothing.
ANONYMOUS = Principal(
    key=0, id="", name="anonymous", role=api_key_pb2.ROLE_UNSPECIFIED, kind="public"
)
# An agent on this host without a key, where its operator allows that.
OPEN_AGENT = Principal(key=0, id=OPEN, name="an agent without a key", role=api_key_pb2.ROLE_AGENT)
OPEN_SCOPE = Scope(principal_id=OPEN, role=Role.AGENT)
NO_SCOPE = Scope(principal_id="", role=Role.VIEWER, groups=frozenset())


@dataclass(kw_only=True, slots=True, eq=False)
class Call:
    """One call under way; the chain sets `principal` and `scope` before the servicer runs."""

    # Full name: `/kronforce.v1.JobService/TriggerJob`.
    method: str
    # The caller's address without its port, or LOCAL_PEER, or UNIX_PEER.
    peer: str
    # Which way it came: `grpc`, `http`, `mcp`; the chain says so.
    surface: str = ""
    # A surface's number, where a trusted gateway says through which of its own it came; 0: none.
    came_by: int = 0
    # What came with the call: keys in lower case, the last value of a repeated one.
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    # On the monotonic clock; None: the caller waits for ever.
    deadline: float | None = None
    principal: Principal = ANONYMOUS
    scope: Scope = NO_SCOPE
    # The hash of the key that it came with, once that was found good.
    key_hash: bytes = b""
    # Sent before the first message, and with the status.
    initial_metadata: list[tuple[str, MetadataValue]] = field(default_factory=list)
    trailing_metadata: list[tuple[str, MetadataValue]] = field(default_factory=list)
    # Pairs for this call's log line (ids of what was made); never a secret.
    log: dict[str, object] = field(default_factory=dict)
    # Why the call was ended from this side, once it was.
    ended: KronforceError | None = None
    # The task that runs it, while it runs.
    task: asyncio.Task[object] | None = None
    # Whether that task is inside of grpc with a reply. Cancelled there, grpc ends the call without
    # a status, and its caller waits for ever.
    writing: bool = False
    _cancelled: bool = False
    _on_cancel: list[Callable[[], None]] = field(default_factory=list)

    @property
    def client_id(self) -> str:
        """The caller's label of its own process (`client-id`); `WatchRuns mine` goes by it."""
        value = self.metadata.get("client-id", "")
        return value if isinstance(value, str) else ""

    @property
    def request_id(self) -> str:
        """The gateway's id of the request, or the caller's own; empty where there is none."""
        value = self.metadata.get("x-request-id", "")
        return value if isinstance(value, str) and len(value) <= MAX_REQUEST_ID else ""

    def cancelled(self) -> bool:
        """Whether the caller has gone, or the call was ended from here."""
        return self._cancelled

    def on_cancel(self, fn: Callable[[], None]) -> None:
        """Have `fn` called once when the call is cancelled; at once if it already is."""
        if self._cancelled:
            fn()
        else:
            self._on_cancel.append(fn)

    def end(self, error: KronforceError) -> None:
        """End the call from this side: it is cancelled, and the caller gets `error`.

        A reply that is being written is written first; see `cut`.
        """
        if self.ended is None and not self._cancelled and self.task is not None:
            self.ended = error
            self.cancel()
            if not self.writing:
                self.task.cancel()

    def cut(self) -> None:
        """Wait no longer for a caller to take what was being written when the call was ended."""
        if self.writing and self.task is not None:
            self.task.cancel()

    def cancel(self) -> None:
        """The caller has gone. For whoever made the call, not for servicers."""
        if self._cancelled:
            return
        self._cancelled = True
        waiting, self._on_cancel = self._on_cancel, []
        for fn in waiting:
            fn()
