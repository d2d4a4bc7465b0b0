"""What the chain around every call costs: CPU of errors, logging, metrics, throttle, identity,
access and limits together, in this process, around a handler that does nothing.

The caller is the dearest that is remembered: a key with an allow list, an expiry and groups. The
controller that the scenario starts stands idle.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from kronforce.api.access import Method, full_name, methods_of
from kronforce.api.call import Call
from kronforce.api.chain import Chain
from kronforce.api.identity import Identity
from kronforce.api.in_flight import InFlight
from kronforce.api.throttle import Throttle
from kronforce.clock import SystemClock
from kronforce.security import keys
from kronforce.store import keys as stored_keys
from kronforce.store.database import open_database, writing
from kronforce.store.migrate import migrate
from kronforce.store.store import Store
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import job_service_pb2
from kronforce.v1.api_key_pb2 import ROLE_OPERATOR
from kronforce.v1.job_service_pb2 import TriggerJobRequest, TriggerJobResponse
from tests.bench.books import Client, Tell

# Calls between two looks at the clock.
ROUND = 2_000
PEER = "10.1.2.3"
MINUTE_US = 60_000_000


async def measure(client: Client, job_id: str, spec: dict[str, Any], tell: Tell) -> dict[str, Any]:
    del client
    request = TriggerJobRequest(job_id=job_id, request_id="0123456789abcdef", client_id="bench")
    with tempfile.TemporaryDirectory() as folder:
        store, key = _store_with_key(Path(folder) / "k.db")
        clock = SystemClock()
        identity = Identity(store=store, clock=clock, throttle=Throttle(clock))
        chain = Chain(
            identity=identity, in_flight=InFlight(clock), counts=CallCounts(), clock=clock
        )
        metadata = {"authorization": f"Bearer {key}", "user-agent": "grpc-python/1.76"}
        await _rounds(chain, metadata, request, spec["warm_secs"])
        tell("begin")
        samples = await _rounds(chain, metadata, request, spec["seconds"])
        tell("end")
        store.database.close()
    return {"n": len(samples) * ROUND, "us": statistics.median(samples)}


async def _rounds(
    chain: Chain, metadata: dict[str, str], request: TriggerJobRequest, seconds: float
) -> list[float]:
    """Microseconds of CPU a call, round by round; the handler's own are taken off."""
    rule, reply, samples = _rule(), TriggerJobResponse(), []

    async def handler(_request: Any, _call: Call) -> TriggerJobResponse:
        return reply

    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        begin = time.process_time()
        for _ in range(ROUND):
            call = Call(method=rule.name, peer=PEER, metadata=metadata)
            await chain.unary(rule, handler, request, call)
        between = time.process_time()
        for _ in range(ROUND):
            await handler(request, Call(method=rule.name, peer=PEER, metadata=metadata))
        bare = time.process_time() - between
        samples.append((between - begin - bare) / ROUND * 1e6)
    return samples


def _rule() -> Method:
    service = job_service_pb2.DESCRIPTOR.services_by_name["JobService"]
    name = full_name(service.methods_by_name["TriggerJob"])
    return methods_of([service], loopback=True)[name]


def _store_with_key(path: Path) -> tuple[Store, str]:
    secret, clock = keys.new_api_key(), SystemClock()
    database = open_database(str(path))
    migrate(database)
    with writing(database.main) as tx:
        stored_keys.insert_key(
            tx,
            id=b"k" * 16,
            name="bench",
            role=ROLE_OPERATOR,
            prefix=keys.shown_prefix(secret),
            hash=keys.hash_of(secret.reveal()),
            allowed_groups=["Default", "ops", "web"],
            allowed_networks=["10.0.0.0/8", "2001:db8::/32"],
            created_at=clock.now_us(),
            expires_at=clock.now_us() + 60 * MINUTE_US,
        )
    return Store(database, clock), secret.reveal()
