"""What stands before every service of the controller in memory.

It lets the controller look at each call first (`enter`: its faults and the key), turns Refused into
a status with details, and counts the open streams.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from tests.fakes.api.refused import Refused

if TYPE_CHECKING:
    from tests.fakes.api_server import FakeController


class Errors(grpc.aio.ServerInterceptor):
    """Checks the key and turns Refused into a status with details; counts open streams."""

    def __init__(self, fake: FakeController) -> None:
        self._fake = fake

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        name = details.method.rpartition("/")[2]
        if handler is None:
            return None
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, name),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(handler.unary_unary, name),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, behaviour, name):
        async def call(request, context):
            try:
                self._fake.enter(name, context)
                return await behaviour(request, context)
            except Refused as error:
                await _abort(context, error)

        return call

    def _stream(self, behaviour, name):
        async def call(request, context):
            self._fake.open_streams += 1
            task = asyncio.current_task()
            self._fake.stream_tasks.add(task)
            try:
                self._fake.enter(name, context)
                async for reply in behaviour(request, context):
                    yield reply
            except Refused as error:
                await _abort(context, error)
            finally:
                self._fake.stream_tasks.discard(task)
                self._fake.open_streams -= 1
                self._fake.changed()

        return call


async def _abort(context, error: Refused) -> None:
    details = (("grpc-status-details-bin", error.status().SerializeToString()),)
    await context.abort(error.code, error.message, details)
