"""The controller, put together: the only file that knows every room.

Wiring is plain constructor arguments, top to bottom in the order in which
things start; they stop the other way round. `run` is what the entry points
call; it holds the data folder for as long as the controller runs.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from kronforce import data_dir, first_start
from kronforce.api.access import MissingRule
from kronforce.api.chain import Chain
from kronforce.api.identity import Identity
from kronforce.api.in_flight import InFlight, Keeper
from kronforce.api.key_servicer import KeyServicer
from kronforce.api.server import Server
from kronforce.api.services import Endpoint, Service, endpoints_of
from kronforce.api.system_servicer import About, SystemServicer
from kronforce.api.throttle import Throttle
from kronforce.clock import Clock, SystemClock
from kronforce.config import CannotStart, Config, is_loopback
from kronforce.core.ids import IdSource
from kronforce.security import tls
from kronforce.store.database import Database, open_database
from kronforce.store.migrate import (
    ControllerRunningError,
    SchemaError,
    migrate,
    take_controller_lock,
)
from kronforce.store.store import Store
from kronforce.telemetry import logs
from kronforce.telemetry.calls import CallCounts
from kronforce.v1 import key_service_pb2, system_service_pb2

log = logs.logger("controller")

# Ended by hand while it was ending: the shell's number for SIGINT.
FORCED_EXIT = 130


def run(config: Config, *, built_in_agent: bool = False) -> None:
    """Run the controller until SIGTERM or SIGINT. Raises CannotStart.

    With `built_in_agent` it enrols one for its own host, and leaves its
    credential where `kronforce agent run` finds it.
    """
    logs.configure(config.log_level)
    # Whatever is written is the owner's alone, also a database file outside the data folder.
    os.umask(0o077)
    data_dir.prepare(config.data_dir)
    with (
        data_dir.held(config.data_dir),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(config, built_in_agent))


async def _serve(config: Config, built_in_agent: bool) -> None:
    stop = _stop_on_signals()
    async with controller(config, clock=SystemClock(), built_in_agent=built_in_agent):
        await stop.wait()
        log.info("stopping", action="controller.stopping")
    log.info("stopped", action="controller.stopped")


@asynccontextmanager
async def controller(
    config: Config, *, clock: Clock, built_in_agent: bool = False
) -> AsyncIterator[Server]:
    """A controller that serves while the context is open. Raises CannotStart."""
    async with AsyncExitStack() as stack:
        new_id = IdSource(clock, random.SystemRandom())
        certificate = tls.load(config.tls_cert, config.tls_key)

        store = Store(_open_database(config, stack), clock)
        await store.start()
        stack.push_async_callback(store.stop)
        await first_start.ensure_admin_key(config, store=store, clock=clock, new_id=new_id)

        identity = Identity(store=store, clock=clock, throttle=Throttle(clock))
        in_flight = InFlight(clock)
        keeper = Keeper(identity=identity, in_flight=in_flight, clock=clock)
        await _run_in_background(stack, keeper)

        services = {
            "Key": KeyServicer(store=store, clock=clock, new_id=new_id, revoked=keeper.recheck),
            "System": SystemServicer(store=store, about=_about(config, store, clock)),
        }
        chain = Chain(
            identity=identity,
            in_flight=in_flight,
            counts=CallCounts(),
            clock=clock,
            log_calls=config.log_level == "debug",
        )
        server = Server(
            bind=config.grpc_bind,
            endpoints=_endpoints(config, services),
            chain=chain,
            in_flight=in_flight,
            tls=certificate,
        )
        await server.start()
        stack.push_async_callback(server.stop)
        stack.enter_context(_told_to_this_host(config, server))
        log.info("serving", action="controller.started", address=server.address)
        yield server


_FILES = {"Key": key_service_pb2, "System": system_service_pb2}


def _endpoints(config: Config, servicers: Mapping[str, object]) -> Mapping[str, Endpoint]:
    services = [
        Service(
            descriptor=_FILES[name].DESCRIPTOR.services_by_name[f"{name}Service"],
            servicer=servicer,
        )
        for name, servicer in servicers.items()
    ]
    try:
        return endpoints_of(services, loopback=is_loopback(config.grpc_bind))
    except MissingRule as error:
        raise CannotStart(f"{error}; the contract must say who may call every method") from error


def _open_database(config: Config, stack: AsyncExitStack) -> Database:
    """Open, become its only controller, bring its schema up to date."""
    database = open_database(config.db)
    try:
        lock = take_controller_lock(database.main)
        if lock is not None:
            stack.callback(lock.release)
        migrate(database)
    except (SchemaError, ControllerRunningError) as error:
        database.close()
        raise CannotStart(str(error)) from error
    except SQLAlchemyError as error:
        database.close()
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise CannotStart(
            f"cannot use the database {database.location}: {reason}; choose another with --db or"
            " KRONFORCE_DB"
        ) from error
    return database


async def _run_in_background(stack: AsyncExitStack, keeper: Keeper) -> None:
    task = asyncio.create_task(keeper.run(), name="keeper")

    async def cancel() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(cancel)


def _about(config: Config, store: Store, clock: Clock) -> About:
    return About(
        started_at=clock.now_us(),
        sqlite=config.sqlite,
        location=store.database.location,
        data_dir=config.data_dir,
        disk_reserve=config.disk_reserve,
    )


def _told_to_this_host(config: Config, server: Server) -> AbstractContextManager[None]:
    return data_dir.endpoint(
        config.data_dir,
        address=server.address,
        tls=config.tls_cert is not None,
        ca_file=str(config.tls_cert or ""),
    )


def _stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process as it is."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(FORCED_EXIT)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
