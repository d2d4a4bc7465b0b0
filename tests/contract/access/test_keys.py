"""Keys through the wired controller: what is refused, what protects itself, what ends at once."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from kronforce.api.transport import CallFailed
from kronforce.v1 import event_service_pb2, job_service_pb2, key_service_pb2
from kronforce.v1.api_key_pb2 import ROLE_ADMIN, ROLE_OPERATOR, ROLE_VIEWER, ApiKey
from kronforce.v1.options_pb2 import SURFACE_HTTP, SURFACE_MCP
from tests.contract.access.test_every_method import METHODS, first_reply
from tests.contract.access.world import ADMIN_KEY, bearer, world

LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
async def made(tmp_path):
    async with world(tmp_path) as made:
        yield made


async def call(made, name, request, key=ADMIN_KEY):
    return await first_reply(made.transports["grpc"], METHODS[name], request, bearer(key))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"role": 0}, "role"),
        ({"role": ROLE_ADMIN, "allowed_groups": ["web"]}, "allowed_groups"),
        ({"allowed_groups": ["a/b"]}, "allowed_groups[0]"),
        ({"allowed_groups": ["x"] * 1_001}, "allowed_groups"),
        ({"allowed_networks": ["10.0.0.1/8"]}, "allowed_networks"),
        ({"allowed_networks": ["everywhere"]}, "allowed_networks"),
        ({"allowed_networks": ["::ffff:10.0.0.0/104"]}, "allowed_networks"),
        ({"expires_at": LONG_AGO}, "expires_at"),
        ({"surface": SURFACE_HTTP}, "surface"),
        ({"surface": SURFACE_MCP, "role": ROLE_ADMIN}, "role"),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(made, fields, field):
    key = ApiKey(**{"name": "ci", "role": ROLE_VIEWER} | fields)
    with pytest.raises(CallFailed) as refused:
        await call(made, "KeyService.CreateKey", key_service_pb2.CreateKeyRequest(key=key))
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_the_last_admin_key_protects_itself(made):
    listed = await call(made, "KeyService.ListKeys", key_service_pb2.ListKeysRequest())
    admins = [k for k in listed.keys if k.role == ROLE_ADMIN and not k.HasField("revoked_at")]
    mine = await call(made, "KeyService.WhoAmI", key_service_pb2.WhoAmIRequest())
    for key in admins:
        if key.id != mine.key.id:
            request = key_service_pb2.RevokeKeyRequest(key_id=key.id)
            await call(made, "KeyService.RevokeKey", request)
    request = key_service_pb2.RevokeKeyRequest(key_id=mine.key.id)
    with pytest.raises(CallFailed) as refused:
        await call(made, "KeyService.RevokeKey", request)
    assert refused.value.reason == "IN_USE"


async def test_a_revoked_key_hears_nothing_more_at_once(made):
    key = ApiKey(name="ci", role=ROLE_OPERATOR, allowed_groups=["web"])
    request = key_service_pb2.CreateKeyRequest(key=key)
    reply = await call(made, "KeyService.CreateKey", request)
    watch = made.transports["grpc"].server_stream(
        METHODS["EventService.WatchEvents"],
        event_service_pb2.WatchEventsRequest(),
        metadata=bearer(reply.secret),
    )
    async with watch as events, asyncio.timeout(10):
        await anext(events)
        await call(
            made, "KeyService.RevokeKey", key_service_pb2.RevokeKeyRequest(key_id=reply.key.id)
        )
        with pytest.raises(CallFailed) as ended:
            await anext(events)
    assert ended.value.reason == "BAD_KEY"


async def test_a_key_for_ai_clients_only_reads_and_opens_no_other_way_in(made):
    key = ApiKey(name="assistant", surface=SURFACE_MCP)
    request = key_service_pb2.CreateKeyRequest(key=key)

    reply = await call(made, "KeyService.CreateKey", request)

    assert (reply.key.role, reply.key.surface) == (ROLE_VIEWER, SURFACE_MCP)
    for transport in made.transports.values():
        with pytest.raises(CallFailed, match="is for MCP alone; with GRPC use another") as refused:
            await first_reply(
                transport,
                METHODS["JobService.ListJobs"],
                job_service_pb2.ListJobsRequest(),
                bearer(reply.secret),
            )
        assert refused.value.reason == "NOT_ALLOWED"
