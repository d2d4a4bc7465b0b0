"""SystemService: whether the controller serves, and what an operator looks at first."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kronforce import __version__
from kronforce.api.call import Call
from kronforce.api.convert.instants import stamp
from kronforce.api.convert.system import oldest_message
from kronforce.core import ids
from kronforce.engine.values.variables import Variables
from kronforce.store import status as stored
from kronforce.store.store import Store
from kronforce.telemetry import logs
from kronforce.v1 import system_service_pb2 as pb
from kronforce.v1 import system_service_pb2_grpc

# A load balancer asks again soon; a store that is slower than this does not serve.
HEALTH_TIMEOUT_SECS = 2.0

log = logs.logger("system")


@dataclass(frozen=True, kw_only=True)
class About:
    """What does not change while the controller runs."""

    started_at: int
    sqlite: bool
    # Without credentials.
    location: str
    # Where room is needed.
    folders: Sequence[Path]
    disk_reserve: int


class SystemServicer(system_service_pb2_grpc.SystemServiceServicer):
    """Reads, and never fails for a store that is away when it is asked for health."""

    def __init__(self, *, store: Store, about: About, variables: Variables) -> None:
        self._store = store
        self._variables = variables
        self._about = about

    async def GetHealth(  # type: ignore[override] # servicers take our Call
        self, request: pb.GetHealthRequest, call: Call
    ) -> pb.GetHealthResponse:
        db_ok = await self._store_answers()
        enough_disk = self._disk_free() >= self._about.disk_reserve
        return pb.GetHealthResponse(
            status="ok" if db_ok and enough_disk else "degraded",
            version=__version__,
            db_ok=db_ok,
        )

    async def GetStatus(  # type: ignore[override] # servicers take our Call
        self, request: pb.GetStatusRequest, call: Call
    ) -> pb.GetStatusResponse:
        found = await self._store.read(stored.status, call.scope)
        about = self._about
        return pb.GetStatusResponse(
            version=__version__,
            started_at=stamp(about.started_at),
            store="sqlite" if about.sqlite else "postgresql",
            jobs=found.jobs,
            agents=found.agents,
            agents_online=found.agents_online,
            slots=found.slots,
            slots_busy=found.slots_busy,
            pending=found.pending,
            running=found.running,
            oldest_waiting=oldest_message(oldest) if (oldest := found.oldest_waiting) else None,
            data_location=about.location,
            store_bytes=await self._store.read(stored.store_bytes),
            output_bytes=await self._store.read_output(stored.output_bytes),
            disk_free_bytes=self._disk_free(),
            disk_reserve_bytes=about.disk_reserve,
        )

    async def RotateSecretKey(  # type: ignore[override] # servicers take our Call
        self, request: pb.RotateSecretKeyRequest, call: Call
    ) -> pb.RotateSecretKeyResponse:
        rotated = await self._variables.rotate_key(call.principal)
        log.info("the key of secrets was rotated", action="secrets_key.rotated",
                 rewritten=rotated.rewritten, by=call.principal.name)  # fmt: skip
        return pb.RotateSecretKeyResponse(
            key_id=ids.to_text(rotated.key_id), rewritten=rotated.rewritten
        )

    async def _store_answers(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_SECS):
                return await self._store.read(stored.answers)
        except Exception:
            # Whatever is wrong with the store, the answer to "are you well" is no.
            log.warning("the store does not answer", action="store.away", exc_info=True)
            return False

    def _disk_free(self) -> int:
        return min(shutil.disk_usage(folder).free for folder in self._about.folders)
