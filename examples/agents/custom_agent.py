"""A Kronforce agent of your own, on nothing but the generated gRPC stubs: `noop` and `shell`.

    KRONFORCE_JOIN_TOKEN=kfj_… python examples/agents/custom_agent.py

`kronforce agent token` prints one. A real agent adds state on disk, long output, timeouts, TLS.
"""

import asyncio
import hashlib
import os

import grpc.aio

from kronforce.v1 import agent_service_pb2 as pb
from kronforce.v1 import agent_service_pb2_grpc as rpc

BOOT_ID = os.urandom(16).hex()  # tasks do not outlive this process
held = {}  # (execution id, fence) → its asyncio task, until its result is acknowledged
outbox = asyncio.Queue()


def report(key, **message):
    outbox.put_nowait(pb.AgentMessage(execution_id=key[0], fence=key[1], **message))


async def run(key, work):
    report(key, accepted=pb.Accepted())
    process, result = None, pb.Result(state="EXECUTION_STATE_CANCELLED")
    try:
        if work.task.HasField("noop"):
            await asyncio.sleep(work.task.noop.sleep_ms / 1000)
            code, output = work.task.noop.exit_code, b"ok\n"
        else:
            how = {"stdout": -1, "stderr": -2, "start_new_session": True}
            how["env"] = os.environ | {each.name: each.value.decode() for each in work.values}
            process = await asyncio.create_subprocess_shell(work.task.shell.command, **how)
            output, code = (await process.communicate())[0][: 16 * 1024], process.returncode
        state = "EXECUTION_STATE_FAILED" if code else "EXECUTION_STATE_SUCCEEDED"
        result = pb.Result(state=state, exit_code=code, stdout_bytes=len(output))
        result.output.add(stream="OUTPUT_STREAM_STDOUT", data=output, sequence=1)  # at most 16 KiB
    except asyncio.CancelledError:
        if process:
            os.killpg(process.pid, 9)  # the whole group
    report(key, result=result)
    return result


def handle(message):
    key, kind = (message.execution_id, message.fence), message.WhichOneof("message")
    if kind == "assignment" and message.assignment.task.WhichOneof("kind") is None:
        report(key, rejected=pb.Rejected(reason=pb.REJECT_REASON_UNSUPPORTED))
    elif kind == "assignment" and key not in held:  # the same one may come again
        held[key] = asyncio.create_task(run(key, message.assignment))
    elif kind in ("cancel", "revoke") and key in held:
        asyncio.get_running_loop().call_soon(held[key].cancel)  # once it has begun
    elif kind == "acknowledge" and message.acknowledge.kind == pb.ACKNOWLEDGE_KIND_RESULT:
        held.pop(key, None)


async def write(call, me):
    hello = pb.Hello(protocol_version=1, agent_id=me.agent_id, boot_id=BOOT_ID, slots=4)
    hello.task_types.extend(["noop", "shell"])
    for key, task in held.items():  # 2: running; 3: ended, and its result follows
        hello.inventory.items.add(execution_id=key[0], fence=key[1], state=2 + task.done())
        if task.done():
            report(key, result=task.result())
    await call.write(pb.ConnectRequest(messages=[pb.AgentMessage(hello=hello)]))
    while True:
        try:
            message = await asyncio.wait_for(outbox.get(), me.heartbeat_interval_secs)
        except TimeoutError:
            message = pb.AgentMessage(heartbeat=pb.AgentHeartbeat(held_count=len(held)))
            for key in held:
                digest = hashlib.sha256(f"{key[0]}:{key[1]}".encode()).digest()[:8]
                message.heartbeat.held_hash ^= int.from_bytes(digest, "big")
        await call.write(pb.ConnectRequest(messages=[message]))


async def main():
    channel = grpc.aio.insecure_channel(os.environ.get("KRONFORCE_ADDRESS", "127.0.0.1:50051"))
    stub, token = rpc.AgentServiceStub(channel), os.environ["KRONFORCE_JOIN_TOKEN"]
    name = os.environ.get("KRONFORCE_AGENT_NAME", "custom")
    me = await stub.RegisterAgent(pb.RegisterAgentRequest(name=name, join_token=token, slots=4))
    while True:
        call = stub.Connect(metadata=(("authorization", f"Bearer {me.credential}"),))
        writer = asyncio.create_task(write(call, me))
        try:
            while frame := await asyncio.wait_for(call.read(), 3 * me.heartbeat_interval_secs):
                for message in frame.messages:
                    handle(message)
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            print("not connected:", error)
        finally:
            writer.cancel()
            call.cancel()
        await asyncio.sleep(1)  # with many agents: a random time


asyncio.run(main())
