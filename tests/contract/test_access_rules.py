"""Nothing ships without an access rule; what is not ours has a fixed one.

Who may call what of ours is in `access/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kronforce.api.access import MissingRule, foreign_rules, methods_of
from kronforce.core.access import PUBLIC
from kronforce.v1 import api_key_pb2, key_service_pb2, options_pb2
from tests.contract.harness import METHODS, SERVICES, Served, serve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


async def test_health_is_public_and_channelz_is_for_admins(served: Served) -> None:
    health = health_pb2_grpc.HealthStub(served.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
    channelz = channelz_pb2_grpc.ChannelzStub(served.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channelz.GetServers(channelz_pb2.GetServersRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    operator = await served.key(api_key_pb2.ROLE_OPERATOR)
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await channelz.GetServers(
            channelz_pb2.GetServersRequest(), metadata=tuple(operator.items())
        )
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    admin = await served.key()
    reply = await channelz.GetServers(
        channelz_pb2.GetServersRequest(), metadata=tuple(admin.items())
    )
    assert len(reply.server) >= 1


@pytest.mark.parametrize("package", ["grpc.reflection.v1", "grpc.reflection.v1alpha"])
async def test_reflection_is_public_on_loopback_in_both_versions(
    served: Served, package: str
) -> None:
    ask = served.channel.stream_stream(
        f"/{package}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol=f"{package}.ServerReflection"
        ),
    ]
    call = ask(iter(requests))
    replies = [reply async for reply in call]
    names = {service.name for service in replies[0].list_services_response.service}
    assert {service.full_name for service in SERVICES} < names
    assert {"grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health"} < names
    assert replies[1].file_descriptor_response.file_descriptor_proto


def test_reflection_needs_a_key_where_others_can_reach_it() -> None:
    rules = foreign_rules(loopback=False)
    assert rules["grpc.reflection.v1.ServerReflection"] == "self.read"
    assert rules["grpc.health.v1.Health"] == PUBLIC
    assert reflection_pb2_grpc  # the service that the rule is for


def changed(edit: str) -> MethodDescriptor:
    """KeyService again, in a pool of its own, after an edit of WhoAmI's access rule."""
    pool = descriptor_pool.DescriptorPool()
    done: set[str] = set()

    def add(name: str) -> None:
        if name in done:
            return
        done.add(name)
        file = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
        for dependency in file.dependency:
            add(dependency)
        if name == key_service_pb2.DESCRIPTOR.name:
            _edit(file, edit)
        pool.AddSerializedFile(file.SerializeToString())

    add(key_service_pb2.DESCRIPTOR.name)
    return pool.FindServiceByName("kronforce.v1.KeyService")


def _edit(file: descriptor_pb2.FileDescriptorProto, edit: str) -> None:
    options = next(m for m in file.service[0].method if m.name == "WhoAmI").options
    rule = options.Extensions[options_pb2.access]
    if edit == "nothing":
        return
    if edit == "rule":
        options.ClearExtension(options_pb2.access)
    elif edit == "permission":
        rule.permission = ""
    elif edit == "unknown permission":
        rule.permission = "keys.borrow"
    elif edit == "rate class":
        rule.rate_class = options_pb2.RATE_CLASS_UNSPECIFIED
    elif edit == "exposure":
        del rule.exposure[:]


@pytest.mark.parametrize(
    "edit", ["rule", "permission", "unknown permission", "rate class", "exposure"]
)
def test_a_method_without_a_whole_access_rule_keeps_the_server_from_starting(edit: str) -> None:
    assert methods_of([changed("nothing")], loopback=True)
    with pytest.raises(MissingRule, match=r"/kronforce\.v1\.KeyService/WhoAmI"):
        methods_of([changed(edit)], loopback=True)


def test_every_served_service_of_ours_has_whole_rules() -> None:
    assert len(methods_of(SERVICES, loopback=True)) == len(METHODS)
