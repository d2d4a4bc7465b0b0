"""The access matrix: every method of the contract × every kind of caller × inside and outside
the caller's groups, over both transports, against the controller as it is wired.

Made from the descriptors: what a caller may do is what the method's access rule
and its role say, and a method without a request in `requests.py` fails here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

import kronforce.v1
from kronforce.api.access import full_name
from kronforce.api.transport import CallFailed, Transport
from kronforce.core.access import GRANTS, PUBLIC
from kronforce.v1 import options_pb2
from tests.contract.access.requests import CASES, Case
from tests.contract.access.world import IN, OUT, Caller, World, world

SECS = 20.0

# What grpc.aio's client says in place of the status when a stream is refused while it writes.
STATUS_LOST = "Internal error from Core"
TRIES = 20


def methods_of_the_contract() -> dict[str, MethodDescriptor]:
    found = {}
    for module in pkgutil.iter_modules(kronforce.v1.__path__):
        if module.name.endswith("_service_pb2"):
            file = importlib.import_module(f"kronforce.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                found.update({f"{service.name}.{m.name}": m for m in service.methods})
    return found


METHODS = methods_of_the_contract()


def test_every_method_has_a_request():
    assert sorted(CASES) == sorted(METHODS), "say in tests/contract/access/requests.py how to call"


def expected(method: MethodDescriptor, case: Case, caller: Caller, side: str) -> str:
    """The reason of the refusal; `OK` where there is none."""
    permission = method.GetOptions().Extensions[options_pb2.access].permission
    if permission != PUBLIC:
        if caller.role is None or caller.bad:
            return "BAD_KEY"
        if permission not in GRANTS[caller.role]:
            return "ROLE_FORBIDS"
        if case.credential_only and not caller.credential:
            return "ROLE_FORBIDS"
    if caller.limited and side == OUT and case.outside:
        return case.outside
    return case.anyway or "OK"


class Matrix:
    """Calls, compares, counts."""

    def __init__(self, made: World, transport: str) -> None:
        self.world = made
        self.transport: Transport = made.transports[transport]
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._refusable: dict[tuple[str, int, str], Message] = {}

    async def all(self) -> None:
        for name, method in METHODS.items():
            if full_name(method) not in self.world.served:
                self.counts["methods not served yet"] += 1
                continue
            for number, case in enumerate(CASES[name]):
                for caller in self.world.callers:
                    for side in (IN, OUT):
                        await self.one(name, method, number, case, caller, side)

    async def one(
        self, name: str, method: MethodDescriptor, number: int, case: Case, caller: Caller,
        side: str,
    ) -> None:  # fmt: skip
        wanted = expected(method, case, caller, side)
        request = await self._request(name, number, case, side, wanted)
        found, reply = await self._call(method, request, caller)
        self.counts["calls"] += 1
        where = f"{name}[{number}] {caller.name} {side}"
        if found == "UNIMPLEMENTED" and wanted in (case.anyway or "OK", case.outside):
            self.counts["allowed and not built yet"] += 1
        elif found != wanted:
            kind = "allow" if found == "OK" else "refusal"
            self.counts[f"unexpected {kind}s"] += 1
            self.wrong.append(f"{where}: {found}, not {wanted}")
        else:
            self.counts["allowed" if found == (case.anyway or "OK") else "refused"] += 1
        if caller.limited and reply is not None:
            self._check_nothing_leaks(where, request, reply)

    async def _request(self, name: str, number: int, case: Case, side: str, wanted: str) -> Message:
        """Made anew, but for calls that are to be refused before anybody looks at them."""
        if wanted not in ("BAD_KEY", "ROLE_FORBIDS"):
            return await case.make(self.world, side)
        place = (name, number, side)
        if place not in self._refusable:
            self._refusable[place] = await case.make(self.world, side)
        return self._refusable[place]

    async def _call(
        self, method: MethodDescriptor, request: Message, caller: Caller
    ) -> tuple[str, Message | None]:
        for _ in range(TRIES):
            self.world.forgive()
            try:
                reply = await first_reply(self.transport, method, request, caller.metadata)
            except CallFailed as error:
                if error.message == STATUS_LOST:
                    continue
                return error.reason or str(error.code), None
            except StopAsyncIteration:
                return "OK", None
            return _of_items(reply), reply
        return STATUS_LOST, None

    def _check_nothing_leaks(self, where: str, request: Message, reply: Message) -> None:
        shown = reply.SerializeToString()
        # What the caller names itself is no news to it.
        said = request.SerializeToString()
        if told := [text for text in self.world.hidden if text in shown and text not in said]:
            self.counts["leaks"] += 1
            self.wrong.append(f"{where} shows {told[:3]}")
        total = getattr(reply, "total", None)
        if total is not None and total != _length(reply):
            self.counts["leaks"] += 1
            self.wrong.append(f"{where} counts {total} of {_length(reply)}")


async def first_reply(
    transport: Transport, method: MethodDescriptor, request: Message, metadata: Any
) -> Message:
    """The only reply, or the first of a stream, which is left then."""
    options = {"metadata": metadata, "timeout": SECS}
    if not method.server_streaming:
        return await transport.unary(method, request, **options)
    if not method.client_streaming:
        async with transport.server_stream(method, request, **options) as replies:
            return await anext(replies)

    async def requests() -> AsyncIterator[Message]:
        yield request

    async with transport.bidi(method, requests(), **options) as replies:
        return await anext(replies)


def _of_items(reply: Any) -> str:
    """Batches answer OK with a status for each item; what the first of them says."""
    for result in getattr(reply, "results", ()):
        if result.HasField("error"):
            return CallFailed(result.error).reason
    return "OK"


def _length(reply: Any) -> int:
    """How many items a page has; an empty list is no field of the message."""
    return max((len(value) for field, value in reply.ListFields() if field.is_repeated), default=0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", ["grpc", "local"])
async def test_each_caller_may_do_exactly_what_its_role_and_groups_allow(
    tmp_path, transport, capsys
):
    async with world(tmp_path) as made:
        matrix = Matrix(made, transport)
        await matrix.all()
    with capsys.disabled():
        print(f"\naccess matrix over {transport}: {dict(sorted(matrix.counts.items()))}")
    assert "\n".join(matrix.wrong) == ""
    assert matrix.counts["calls"] > 2_000


async def test_an_expired_key_says_so_to_its_holder_alone(tmp_path):
    async with world(tmp_path) as made:
        said = {}
        for caller in made.callers:
            if caller.bad and (caller.role is None or caller.role == "viewer"):
                made.forgive()
                with pytest.raises(CallFailed) as refused:
                    await first_reply(
                        made.transports["grpc"],
                        METHODS["KeyService.WhoAmI"],
                        await CASES["KeyService.WhoAmI"][0].make(made, IN),
                        caller.metadata,
                    )
                said[caller.bad] = refused.value.message
    assert "has expired" in said["expired"]
    assert "may not be used from 127.0.0.1" in said["wrong network"]
    assert said["revoked"] == said["unknown"]
    assert "expired" not in said["unknown"]
