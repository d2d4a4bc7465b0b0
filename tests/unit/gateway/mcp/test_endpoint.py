"""What `/mcp` answers where there is nothing behind it."""

import subprocess
import sys

from kronforce_gateway.app import Gateway
from kronforce_gateway.contract import SERVICES
from kronforce_gateway.mcp.callers import key_of
from kronforce_gateway.mcp.endpoint import Mcp
from tests.contract.http.asgi import ask


class Nobody:
    """A transport that is never called."""


async def test_a_gateway_without_it_says_so():
    answer = await ask(Gateway(Nobody()), "POST", "/mcp", body=b"{}")

    assert (answer.status, answer.json()["reason"]) == (404, "MCP_DISABLED")
    assert "KRONFORCE_MCP_ENABLED" in answer.json()["error"]


async def test_a_gateway_that_stops_opens_nothing_new():
    gateway = Gateway(Nobody(), mcp=Mcp(Nobody(), SERVICES, version="1"))
    await gateway.stop()

    answer = await ask(gateway, "POST", "/mcp", body=b"{}")

    assert (answer.status, answer.json()["reason"]) == (503, "UNAVAILABLE")


def test_a_key_has_one_room_however_its_header_is_written():
    written = (b"Bearer kf_a", b"bearer  kf_a ", b"BEARER\tkf_a", b"kf_a")

    assert len({key_of({b"authorization": each}) for each in written}) == 1
    assert key_of({b"authorization": b"Bearer kf_b"}) != key_of({b"authorization": b"Bearer kf_a"})
    assert key_of({}) == key_of({b"authorization": b""})


async def test_there_is_nothing_to_listen_to():
    gateway = Gateway(Nobody(), mcp=Mcp(Nobody(), SERVICES, version="1"))

    answer = await ask(gateway, "GET", "/mcp")

    assert (answer.status, answer.headers["allow"]) == (405, "POST, DELETE")


def test_the_sdk_is_loaded_by_the_first_who_needs_it_and_not_at_the_start():
    loaded = "{'mcp', 'pydantic', 'jsonschema'} & set(sys.modules)"
    code = f"import sys, kronforce.http_gateway; sys.exit(repr({loaded}) if {loaded} else 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
