"""The differential test: every method by every kind of caller gives the same result or the same
refusal over gRPC, over HTTP in the controller's process and before a gRPC channel, and, where
it is a tool, over MCP both ways.

A way is an entry of `ways`: given a method, a request and a caller it says what came of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from kronforce.api.transport import CallFailed
from kronforce.core.access import Role
from kronforce.errors import Code
from kronforce.v1 import options_pb2
from kronforce_gateway.live import streams
from tests.contract.access.requests import CASES, Case
from tests.contract.access.same import done_again, plain, read_again
from tests.contract.access.test_every_method import METHODS, expected, first_reply
from tests.contract.access.world import IN, OUT, Caller, World, world
from tests.contract.http import over_http
from tests.contract.mcp import over_mcp

# A tool's refusal is a result, which has no status.
NOT_SAID = 0

# Status codes as the documentation has them, by the name of gRPC's.
STATUS = {
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a call, in words that every way can say. `reply` is None for a refusal."""

    reply: Any = None
    status: int = 200
    reason: str = ""
    text: str = ""
    fields: tuple[tuple[str, str], ...] = ()


# Of a stream: its frames are the business of tests of their own.
BEGUN = Outcome(reply={"stream": "has begun"})


class Way(Protocol):
    """A way in."""

    def offers(self, method: MethodDescriptor) -> bool: ...

    async def call(
        self, method: MethodDescriptor, request: Message, caller: Caller
    ) -> list[Outcome]:
        """Once, or once by each of its routes."""
        ...


class OverGrpc:
    """The reference."""

    def __init__(self, made: World) -> None:
        self._transport = made.transports["grpc"]

    def offers(self, _method: MethodDescriptor) -> bool:
        return True

    async def call(
        self, method: MethodDescriptor, request: Message, caller: Caller
    ) -> list[Outcome]:
        try:
            reply = await first_reply(self._transport, method, request, caller.metadata)
        except StopAsyncIteration:
            return [BEGUN]
        except CallFailed as failed:
            fields = tuple((each.field, plain(each.description)) for each in failed.violations)
            return [
                Outcome(
                    status=STATUS[Code(failed.status.code).name],
                    reason=failed.reason,
                    text=plain(failed.message),
                    fields=fields,
                )
            ]
        return [BEGUN if method.server_streaming else Outcome(reply=_shown(method, reply))]


class OverHttp:
    """Through one of the world's gateways."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    def offers(self, method: MethodDescriptor) -> bool:
        return over_http.offered(method)

    async def call(
        self, method: MethodDescriptor, request: Message, caller: Caller
    ) -> list[Outcome]:
        calls = over_http.http_calls(method, request)
        return [await self._one(method, sent, caller) for sent in calls]

    async def _one(
        self, method: MethodDescriptor, sent: over_http.HttpCall, caller: Caller
    ) -> Outcome:
        try:
            reply = await over_http.call(self._gateway, method, sent, caller.metadata)
        except over_http.Refused as refused:
            return Outcome(
                status=refused.status,
                reason=refused.reason,
                text=plain(refused.message),
                fields=tuple((field, plain(text)) for field, text in refused.fields),
            )
        if reply is None:
            return BEGUN
        whole = _shown(method, reply)
        # Of a reply whose one field came alone, the rest is not known.
        alone = sent.response_body
        return Outcome(reply={alone: whole[alone]} if alone else whole)


class OverMcp:
    """As a tool of one of the world's gateways."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    def offers(self, method: MethodDescriptor) -> bool:
        return over_mcp.offered(method)

    async def call(
        self, method: MethodDescriptor, request: Message, caller: Caller
    ) -> list[Outcome]:
        try:
            reply = await over_mcp.call(self._gateway, method, request, caller.metadata)
        except over_mcp.Refused as refused:
            fields = tuple((field, plain(text)) for field, text in refused.fields)
            return [
                Outcome(
                    status=NOT_SAID,
                    reason=refused.reason,
                    text=plain(refused.message),
                    fields=fields,
                )
            ]
        except over_mcp.Unauthorised as refused:
            said = refused.answer.json()
            return [
                Outcome(
                    status=refused.answer.status,
                    reason=said["reason"],
                    text=plain(said["error"]),
                )
            ]
        shown = _shown(method, reply)
        # A run says by what it was fired; that alone differs.
        if shown.get("run", {}).get("trigger") == "mcp":
            shown["run"]["trigger"] = "api"
        return [Outcome(reply=shown)]


def ways(made: World) -> Mapping[str, Way]:
    """Every way in; the first is what the others are compared with."""
    return {
        "grpc": OverGrpc(made),
        **{f"http {name}": OverHttp(gateway) for name, gateway in made.gateways.items()},
        **{f"mcp {name}": OverMcp(gateway) for name, gateway in made.gateways.items()},
    }


class Comparison:
    """Calls, compares, counts."""

    def __init__(self, made: World, compared: Mapping[str, Way]) -> None:
        self.world = made
        (_, self._reference), *self._others = compared.items()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def all(self) -> None:
        for name, method in METHODS.items():
            others = {way: each for way, each in self._others if each.offers(method)}
            if not others:
                continue
            for case in CASES[name]:
                for caller, side in self._callers():
                    await self._one(name, method, case, caller, side, others)

    def _callers(self) -> list[tuple[Caller, str]]:
        """Each role, with and without groups, and who has no good key."""
        good = [each for each in self.world.callers if not each.bad]
        bad = [each for each in self.world.callers if each.bad in ("unknown", "revoked")]
        limited = [(each, OUT) for each in good if each.limited]
        return [(each, IN) for each in (*good, bad[0], bad[-1])] + limited

    async def _one(
        self, name: str, method: MethodDescriptor, case: Case, caller: Caller, side: str,
        others: Mapping[str, Way],
    ) -> None:  # fmt: skip
        make = self._maker(method, case, caller, side)
        self.world.forgive()
        [wanted] = await self._reference.call(method, await make(), caller)
        for way, each in others.items():
            self.world.forgive()
            found = await each.call(method, await make(), caller)
            self.counts[way] += len(found)
            for outcome in found:
                if not _same(outcome, wanted):
                    where = f"{name} by {caller.name}, {side}, {way}"
                    self.wrong.append(f"{where}:\n  {outcome}\n  not {wanted}")

    def _maker(
        self, method: MethodDescriptor, case: Case, caller: Caller, side: str
    ) -> Callable[[], Awaitable[Message]]:
        """A request of its own for each way where the call changes something; else one for all."""
        refused = expected(method, case, caller, side) in ("BAD_KEY", "ROLE_FORBIDS")
        changes = _changes(method) and not refused
        made: list[Message] = []

        async def make() -> Message:
            if changes or not made:
                made.append(await case.make(self.world, side))
            return made[-1]

        return make


def _changes(method: MethodDescriptor) -> bool:
    """Whether a call of it changes something."""
    return bool(method.GetOptions().Extensions[options_pb2.access].audited)


def _shown(method: MethodDescriptor, reply: Message) -> Any:
    return done_again(reply) if _changes(method) else read_again(reply)


def _same(found: Outcome, wanted: Outcome) -> bool:
    if found.status == NOT_SAID:
        wanted = replace(wanted, status=NOT_SAID)
    if found.reply is None or wanted.reply is None:
        return found == wanted
    return all(wanted.reply.get(key) == value for key, value in found.reply.items())


@pytest.mark.timeout(300)
async def test_every_way_in_gives_the_same_result_or_the_same_refusal(
    tmp_path, capsys, monkeypatch
):
    # A refusal that a busy machine is late with would be an error within a stream that has begun.
    monkeypatch.setattr(streams, "HEAD_WAIT_SECS", 3.0)
    async with world(tmp_path) as made:
        compared = ways(made)
        comparison = Comparison(made, compared)
        await comparison.all()
    with capsys.disabled():
        print(f"\nthe same everywhere: {dict(sorted(comparison.counts.items()))}")
    assert "\n".join(comparison.wrong) == ""
    for way in compared:
        least = 100 if way.startswith("mcp") else 400
        assert way == "grpc" or comparison.counts[way] > least, way


async def test_each_role_is_among_the_callers(tmp_path):
    async with world(tmp_path) as made:
        callers = Comparison(made, ways(made))._callers()
    assert {caller.role for caller, _ in callers} >= set(Role)
    assert {caller.bad for caller, _ in callers} == {"", "revoked", "unknown"}
