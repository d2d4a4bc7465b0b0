"""A stream that ends just as its agent writes is a lost session like any other."""

from typing import Any

import grpc
import grpc.aio
import pytest

from kronforce_agent.session import _send


async def test_writing_to_a_stream_that_has_just_ended_raises_how_it_ended() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.stream_stream("/kronforce.v1.Nobody/Answers")()
            assert await call.code() == grpc.StatusCode.UNIMPLEMENTED
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await _send(call, b"late")
    finally:
        await server.stop(None)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
