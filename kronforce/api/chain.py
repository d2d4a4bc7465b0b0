"""The chain that every call passes, whichever way it came in.

Outermost first: errors → logging → metrics → throttle → identity → access →
limits. The four before the servicer (`ADMISSION`) are plain functions over
(method, request, call) that raise to refuse; the three after it look at how
the call ended. `unary` and `stream` run a servicer's method inside of it: the
edge and the local transport add nothing but their wire. Whatever goes wrong
comes out as a KronforceError, except the CancelledError of a caller that has
gone, which goes through untouched.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message

from kronforce.api.access import Method
from kronforce.api.call import LOCAL_PEER, Call
from kronforce.api.identity import Identity, surface_name
from kronforce.api.in_flight import InFlight
from kronforce.api.rate_limits import RateLimits
from kronforce.api.refusals import Refused, nobody
from kronforce.api.status import unexpected
from kronforce.api.text_limits import check_text
from kronforce.clock import Clock
from kronforce.core import access as core_access
from kronforce.errors import (
    InvalidArgument,
    KronforceError,
    NotAllowed,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from kronforce.telemetry import logs
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import options_pb2

R = TypeVar("R")

# A message of a caller; streams are bounded by message, not in sum.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024

log = logs.logger("api")

Handler = Callable[[Any, Call], Awaitable[R]]
StreamHandler = Callable[[Any, Call], AsyncGenerator[R, None]]


class Chain:
    """The chain with what its links need; one per process and surface."""

    def __init__(
        self,
        *,
        identity: Identity,
        in_flight: InFlight,
        counts: CallCounts,
        clock: Clock,
        surface: int = options_pb2.SURFACE_GRPC,
        refused: Refused = nobody,
        limits: RateLimits | None = None,
        log_calls: bool = False,
    ) -> None:
        self._identity = identity
        self._in_flight = in_flight
        self._counts = counts
        self.monotonic = clock.monotonic
        self._surface = surface
        # Told of every call that a role was not enough for, before its caller is.
        self._refused = refused
        self._surface_name = surface_name(surface)
        # None where nothing is limited, which costs nothing then.
        self._limits = limits or None
        # A line for each call costs as much as the call; refusals and faults have one anyway.
        self._log_calls = log_calls

    async def unary(self, method: Method, handler: Handler[R], request: Any, call: Call) -> R:
        """One reply. `request` is a message, or an iterator where the client streams."""
        started, cancelling = self._begin(call)
        error: BaseException | None = None
        try:
            await self._admit(method, request, call)
            return await handler(request, call)
        except BaseException as raised:
            error = self._judge(method, call, raised, cancelling)
            if isinstance(error, PermissionDenied):
                await self._refused(method, request, call, error)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._end(method, call, started, error)

    async def stream(
        self, method: Method, handler: StreamHandler[R], request: Any, call: Call
    ) -> AsyncGenerator[R, None]:
        """Replies as they come; close it (aclosing) when leaving early.

        It runs in the task of whoever iterates, and may end that task's wait by
        cancelling it: iterate it in a task of the call's own.
        """
        started, cancelling = self._begin(call)
        error: BaseException | None = None
        try:
            await self._admit(method, request, call)
            async with aclosing(handler(request, call)) as replies:
                async for reply in replies:
                    yield reply
        except BaseException as raised:
            error = self._judge(method, call, raised, cancelling)
            if isinstance(error, PermissionDenied):
                await self._refused(method, request, call, error)
            if error is raised:
                raise
            raise error from raised
        finally:
            self._end(method, call, started, error)

    def _begin(self, call: Call) -> tuple[float, int]:
        task = asyncio.current_task()
        call.task = task
        call.surface = surface_name(call.came_by) if call.came_by else self._surface_name
        return self.monotonic(), task.cancelling() if task else 0

    async def _admit(self, method: Method, request: Any, call: Call) -> None:
        if not method.public or method.open_to_agents or "authorization" in call.metadata:
            await identify(self._identity, method, call)
        if self._limits is not None:
            self._limits.admit(method, call)
        check_access(method, call.came_by or self._surface, call)
        check_size(request, call)
        if isinstance(request, Message):
            check_text(request, method.body)
        self._in_flight.admit(method, call)

    def _judge(
        self, method: Method, call: Call, raised: BaseException, cancelling: int
    ) -> BaseException:
        """What the caller gets for what was raised."""
        if isinstance(raised, KronforceError):
            return raised
        if isinstance(raised, GeneratorExit) and call.ended is None:
            call.cancel()
            return raised
        if isinstance(raised, GeneratorExit | asyncio.CancelledError):
            # With GeneratorExit: ended while a reply was on its way out.
            return self._judge_cancelled(method, call, raised, cancelling)
        if isinstance(raised, Exception):
            return _fault(method, call, raised)
        return raised

    def _judge_cancelled(
        self, method: Method, call: Call, raised: BaseException, cancelling: int
    ) -> BaseException:
        task = call.task
        if call.ended is not None and task is not None and task.uncancel() <= cancelling:
            return call.ended
        if call.ended is None and (task is None or task.cancelling() <= cancelling):
            # Nobody cancelled this call: without an answer its client would wait for ever.
            return _fault(method, call, raised)
        call.cancel()
        return raised

    def _end(self, method: Method, call: Call, started: float, error: BaseException | None) -> None:
        self._in_flight.leave(call)
        call.task = None
        seconds = self.monotonic() - started
        code = _code_name(error)
        self._counts.count(method.name, code, seconds)
        if self._log_calls or isinstance(error, PermissionDenied | Unauthenticated):
            _log_end(method, call, code, seconds, error)


async def identify(identity: Identity, method: Method, call: Call) -> None:
    """Throttle and identity: the principal and the scope of a call that needs a key."""
    try:
        if identity.recall(call):
            return
        if method.open_to_agents and identity.admits_open(call):
            return
        if not method.public or "authorization" in call.metadata:
            await identity.look_up(call)
    except KronforceError:
        # A public method serves everybody; a bad key with it changes nothing.
        if not method.public:
            raise


def check_access(method: Method, surface: int, call: Call) -> None:
    """Deny by default: the surface must offer the method, and the role must grant it."""
    if surface not in method.surfaces:
        raise Unimplemented(f"{method.name} is not offered here")
    if method.public:
        return
    if call.principal.only and call.principal.only != call.surface:
        raise NotAllowed(
            f"the key {call.principal.name!r} is for {call.principal.only.upper()} alone; with"
            f" {call.surface.upper()} use another: kronforce key create",
            surface=call.principal.only,
        )
    if method.permission not in core_access.GRANTS[call.scope.role]:
        wanted = " or ".join(core_access.roles_with(method.permission))
        raise PermissionDenied(
            f"a key with the role {wanted} may do this; this one is {call.scope.role}",
            permission=method.permission,
            role=call.scope.role,
        )


def check_size(request: Any, call: Call) -> None:
    """The gRPC edge refuses big messages before they are read; the local way has only this."""
    if call.peer == LOCAL_PEER and isinstance(request, Message):
        size = request.ByteSize()
        if size > MAX_MESSAGE_BYTES:
            raise InvalidArgument(f"the request has {size} bytes; {MAX_MESSAGE_BYTES} are allowed")


def _fault(method: Method, call: Call, raised: BaseException) -> KronforceError:
    correlation_id = call.request_id or uuid.uuid4().hex[:16]
    log.error(
        "a call failed for a reason of ours",
        action="call.fault",
        method=method.name,
        principal=call.principal.id,
        correlation_id=correlation_id,
        exc_info=raised,
    )
    return unexpected(correlation_id)


def _code_name(error: BaseException | None) -> str:
    if error is None:
        return "OK"
    return error.code.name if isinstance(error, KronforceError) else "CANCELLED"


def _log_end(
    method: Method, call: Call, code: str, seconds: float, error: BaseException | None
) -> None:
    refused = isinstance(error, PermissionDenied | Unauthenticated)
    write = log.info if refused else log.debug
    reason = error.reason if isinstance(error, KronforceError) else ""
    write(
        "call refused" if refused else "call ended",
        action="call.ended",
        method=method.name,
        code=code,
        reason=reason,
        principal=call.principal.id,
        principal_name=call.principal.name,
        peer=call.peer,
        **({"request_id": call.request_id} if call.request_id else {}),
        ms=round(seconds * 1000, 1),
        **call.log,
    )
