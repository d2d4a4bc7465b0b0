"""The controller, put together: the only file that knows every room.

Wiring is plain constructor arguments, top to bottom in the order in which
things start; they stop the other way round. `run` is what the entry points
call; it holds the data folder for as long as the controller runs.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import timedelta
from functools import partial
from pathlib import Path

import uvloop
from google.protobuf import descriptor_pool
from sqlalchemy.exc import SQLAlchemyError

from kronforce import __version__, audit_key, data_dir, first_start, master_key
from kronforce.api.access import MissingRule
from kronforce.api.agent_servicer import AgentServicer
from kronforce.api.audit_servicer import AuditServicer
from kronforce.api.chain import Chain
from kronforce.api.event_servicer import EventServicer
from kronforce.api.execution_servicer import ExecutionServicer
from kronforce.api.forwarded import Forwarders
from kronforce.api.identity import Identity
from kronforce.api.in_flight import InFlight, Keeper
from kronforce.api.job_servicer import JobServicer
from kronforce.api.key_servicer import KeyServicer
from kronforce.api.rate_limits import RateLimits, limits_of
from kronforce.api.refusals import recorder
from kronforce.api.server import Server
from kronforce.api.services import Endpoint, Service, endpoints_of
from kronforce.api.stats_servicer import StatsServicer
from kronforce.api.system_servicer import About, SystemServicer
from kronforce.api.throttle import Throttle
from kronforce.api.variable_servicer import VariableServicer
from kronforce.api.webhook_servicer import WebhookServicer
from kronforce.clock import Clock, SystemClock
from kronforce.config import CannotStart, Config, is_loopback
from kronforce.controller_lock import LockKeeper
from kronforce.core.ids import IdSource
from kronforce.engine.agents.changes import Agents
from kronforce.engine.agents.task_types import TaskTypes
from kronforce.engine.audit_log import AuditLog
from kronforce.engine.engine import Engine, Limits
from kronforce.engine.jobs import Jobs
from kronforce.engine.values.variables import Variables
from kronforce.engine.webhooks.firing import Deliveries
from kronforce.engine.webhooks.managing import Webhooks
from kronforce.errors import AlreadyExists, InvalidArgument, StoreFull
from kronforce.metrics_source import MetricsSource
from kronforce.security import tls
from kronforce.security.envelope import Keyring
from kronforce.stopping import stop_on_signals
from kronforce.store import faults
from kronforce.store.controller_lock import ControllerRunningError
from kronforce.store.copying import DamagedError
from kronforce.store.database import Database, open_database, output_file
from kronforce.store.migrate import SchemaError, migrate
from kronforce.store.revisions import SchemaState, schema_states
from kronforce.store.store import Store
from kronforce.store.wholeness import look_at_start
from kronforce.telemetry import logs
from kronforce.telemetry.calls import CallCounts

log = logs.logger("controller")

# New objects between two looks of the cycle collector; at some 200 bytes each, about 10 MB.
YOUNG_OBJECTS = 50_000

# Who holds agents' sessions, in the store. It outlives restarts and there is one per database.
CONTROLLER_NAME = "main"


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
        _told_of_no_room(config),
        data_dir.held(config.data_dir),
        _database_file_held(config),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(config, built_in_agent))


@contextmanager
def _told_of_no_room(config: Config) -> Iterator[None]:
    """A start needs some pages: keys, the lock, where it can be reached."""
    try:
        yield
    except (OSError, StoreFull) as error:
        if isinstance(error, OSError) and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        where = " or ".join(str(folder) for folder in config.folders)
        raise CannotStart(
            f"the disk of {where} is full, and a start has to write a little: free some space"
            " there and start again; nothing was lost"
        ) from error


def _database_file_held(config: Config) -> AbstractContextManager[None]:
    """PostgreSQL has a lock of its own (`controller_lock`)."""
    if not config.sqlite:
        return nullcontext()
    return data_dir.database_held(Path(config.db))


async def _serve(config: Config, built_in_agent: bool) -> None:
    stop = stop_on_signals()
    async with controller(config, clock=SystemClock(), built_in_agent=built_in_agent):
        _collect_seldom()
        await stop.wait()
        log.info("stopping", action="controller.stopping")
    log.info("stopped", action="controller.stopped")


def _collect_seldom() -> None:
    """Let the cycle collector look at young objects in thousands, and never at what start made.

    At its defaults it took a tenth of the controller's time under load, and found next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


@asynccontextmanager
async def controller(
    config: Config, *, clock: Clock, built_in_agent: bool = False
) -> AsyncIterator[Server]:
    """A controller that serves while the context is open. Raises CannotStart."""
    async with AsyncExitStack() as stack:
        new_id = IdSource(clock, random.SystemRandom())
        certificate = tls.load(config.tls_cert, config.tls_key)

        database = _open_database(config)
        lock = LockKeeper(database, clock, on_lost=_stop_this_process)
        stack.callback(lock.release)
        _bring_up_to_date(config, clock, database, lock)
        store = Store(database, clock, audit_key=audit_key.audit_key(config))
        await store.start()
        stack.push_async_callback(store.stop)
        await first_start.ensure_admin_key(config, store=store, clock=clock, new_id=new_id)
        keyring = await master_key.open_keyring(config, store=store)

        engine = _engine(config, store, clock, new_id, keyring)
        stack.push_async_callback(engine.stop)
        await engine.start()
        agents = Agents(
            store=store,
            clock=clock,
            new_id=new_id,
            directory=engine.directory,
            sessions=engine.sessions,
            ca_der=certificate.ca_der if certificate else None,
        )
        if built_in_agent:
            await _enrol_built_in(config, agents, certificate)

        variables = Variables(
            store=store,
            clock=clock,
            new_id=new_id,
            keyring=keyring,
            cache=engine.variables,
            trust_operators=config.trust_operators,
        )
        throttle = Throttle(clock)
        identity = Identity(
            store=store, clock=clock, throttle=throttle, open_agents=config.open_agents
        )
        in_flight = InFlight(clock)
        keeper = Keeper(identity=identity, in_flight=in_flight, clock=clock)
        _run_in_background(stack, keeper.run(), "keys")
        _run_in_background(stack, lock.run(), "lock")

        audit_log = AuditLog(store=store, clock=clock)
        services = {
            **_engine_servicers(config, engine, agents, store, clock, new_id, keeper.recheck),
            "Key": KeyServicer(store=store, clock=clock, new_id=new_id, revoked=keeper.recheck),
            "System": SystemServicer(
                store=store, about=_about(config, store, clock), variables=variables
            ),
            "Audit": AuditServicer(store=store, audit_log=audit_log),
            "Variable": VariableServicer(store=store, clock=clock, variables=variables),
            "Webhook": WebhookServicer(
                webhooks=Webhooks(store=store, clock=clock, new_id=new_id, keyring=keyring),
                deliveries=Deliveries(
                    store=store,
                    clock=clock,
                    keyring=keyring,
                    triggering=engine.triggering,
                    snapshots=engine.snapshots,
                ),
                throttle=throttle,
                public_url=config.public_url,
            ),
        }
        calls = CallCounts()
        chain = partial(
            Chain,
            identity=identity,
            in_flight=in_flight,
            counts=calls,
            clock=clock,
            refused=recorder(audit_log),
            log_calls=config.log_level == "debug",
        )
        server = Server(
            bind=config.grpc_bind,
            endpoints=_endpoints(config, services),
            chain=chain(limits=RateLimits(limits_of(config), clock)),
            in_flight=in_flight,
            tls=certificate,
            forwarders=Forwarders(config.trusted_proxies),
        )
        await server.start()
        stack.push_async_callback(server.stop)
        source = MetricsSource(
            engine=engine, store=store, clock=clock, calls=calls, under_way=in_flight
        )
        stack.push_async_callback(source.stop)
        http = await _serve_http(stack, config, server, chain, clock, source)
        metrics = await _serve_metrics(stack, config, source)
        stack.enter_context(_told_to_this_host(config, server, metrics=metrics, http=http))
        log.info("serving", action="controller.started", address=server.address)
        yield server


def _engine(
    config: Config, store: Store, clock: Clock, new_id: IdSource, keyring: Keyring
) -> Engine:
    limits = Limits(
        folders=config.folders,
        disk_reserve=config.disk_reserve,
        max_pending=config.max_pending,
        retention=timedelta(days=config.retention_days),
        audit_retention=timedelta(days=config.audit_retention_days),
    )
    return Engine(
        store=store,
        clock=clock,
        new_id=new_id,
        limits=limits,
        keyring=keyring,
        controller=CONTROLLER_NAME,
        version=__version__,
    )


async def _enrol_built_in(config: Config, agents: Agents, certificate: tls.Tls | None) -> None:
    """The agent of this host gets a new credential at each start, and finds it in its folder."""
    try:
        enrolled = await agents.enrol_built_in(config.agent_name, tags=config.agent_tags)
    except (AlreadyExists, InvalidArgument) as error:
        raise CannotStart(
            f"the agent of this host cannot be called {config.agent_name!r}: {error.message};"
            " choose another name with --agent-name or KRONFORCE_AGENT_NAME"
        ) from error
    assert enrolled.credential is not None
    first_start.write_built_in_credential(
        config,
        agent_id=enrolled.agent.id,
        credential=enrolled.credential,
        ca_pem=certificate.ca_pem if certificate else "",
    )


def _engine_servicers(
    config: Config,
    engine: Engine,
    agents: Agents,
    store: Store,
    clock: Clock,
    new_id: IdSource,
    rekeyed: Callable[[], Awaitable[None]],
) -> dict[str, object]:
    """The services that are thin covers of the engine."""
    jobs = Jobs(
        store=store,
        clock=clock,
        new_id=new_id,
        scheduler=engine.scheduler,
        snapshots=engine.snapshots,
        triggering=engine.triggering,
        deleted_jobs=engine.deleted_jobs,
        trust_operators=config.trust_operators,
    )
    return {
        "Agent": AgentServicer(
            store=store,
            agents=agents,
            sessions=engine.sessions,
            polls=engine.polls,
            pull_calls=engine.pull_calls,
            task_types=TaskTypes(
                store=store, clock=clock, directory=engine.directory, sessions=engine.sessions
            ),
        ),
        "Event": EventServicer(store=store, clock=clock),
        "Execution": ExecutionServicer(
            store=store,
            watching=engine.views,
            cancelling=engine.cancelling,
            reasons=engine.reasons,
            explaining=engine.explaining,
        ),
        "Stats": StatsServicer(
            store=store,
            clock=clock,
            folding=engine.folding,
            tally=engine.job_tally,
            begin_tally=lambda: engine.job_tally.begin(engine.scheduler, engine.tasks),
        ),
        "Job": JobServicer(
            store=store,
            clock=clock,
            jobs=jobs,
            groups=engine.groups,
            rekeyed=rekeyed,
            triggering=engine.triggering,
            watching=engine.views,
            rerunning=engine.rerunning,
            history=engine.retention,
        ),
    }


def _endpoints(config: Config, servicers: Mapping[str, object]) -> Mapping[str, Endpoint]:
    services = [
        Service(
            # The servicers have loaded their files of the contract.
            descriptor=descriptor_pool.Default().FindServiceByName(f"kronforce.v1.{name}Service"),
            servicer=servicer,
        )
        for name, servicer in servicers.items()
    ]
    try:
        return endpoints_of(services, loopback=is_loopback(config.grpc_bind))
    except MissingRule as error:
        raise CannotStart(f"{error}; the contract must say who may call every method") from error


def _open_database(config: Config) -> Database:
    """Open it; nothing is read yet."""
    try:
        return open_database(config.db)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        # A URL that cannot be read, or a driver that is not installed.
        raise CannotStart(f"cannot open the database: {error}; see --db") from error


def _bring_up_to_date(config: Config, clock: Clock, database: Database, lock: LockKeeper) -> None:
    """Become the database's only controller and make its schema this version's."""
    try:
        lock.take()
        _look_whether_whole(config, clock)
        older = [state for state in schema_states(database) if state.pending and state.current]
        migrate(database)
    except CannotStart:
        database.close()
        raise
    except (SchemaError, ControllerRunningError) as error:
        database.close()
        raise CannotStart(str(error)) from error
    except SQLAlchemyError as error:
        database.close()
        if (told := faults.for_callers(error, database.main)) is not None:
            raise CannotStart(told.message) from error
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise CannotStart(
            f"cannot use the database {database.location}: {reason}; choose another with --db or"
            " KRONFORCE_DB"
        ) from error
    for state in older:
        _tell_of_migration(state)


def _look_whether_whole(config: Config, clock: Clock) -> None:
    if not config.sqlite:
        return
    main = Path(config.db)
    for path in (main, output_file(main)):
        try:
            look_at_start(path, monotonic=clock.monotonic)
        except DamagedError as error:
            raise CannotStart(
                f"{error}; keep a copy of the files in {main.parent} as they are, then put a"
                " backup in their place (kronforce restore FILE --force, docs/backup.md), or choose"
                " another database with --db or KRONFORCE_DB"
            ) from error


def _tell_of_migration(state: SchemaState) -> None:
    log.warning("the database was migrated; a copy of it as it was is beside it",
                action="schema.migrated", part=state.part, before=state.current,
                after=state.newest, copy=f"*.before-upgrade-from-{state.current}")  # fmt: skip


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _run_in_background(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    task = asyncio.create_task(work, name=name)

    async def cancel() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(cancel)


def _about(config: Config, store: Store, clock: Clock) -> About:
    return About(
        started_at=clock.now_us(),
        sqlite=config.sqlite,
        location=store.database.location,
        folders=config.folders,
        disk_reserve=config.disk_reserve,
    )


async def _serve_metrics(stack: AsyncExitStack, config: Config, source: MetricsSource) -> str:
    """The address where Prometheus may ask; empty if nobody wanted one."""
    if not config.metrics_bind:
        return ""
    # What nobody asked for costs no time at start.
    from kronforce.telemetry.metrics import CONTENT_TYPE  # noqa: PLC0415
    from kronforce.telemetry.metrics_listener import MetricsListener  # noqa: PLC0415

    listener = MetricsListener(
        bind=config.metrics_bind, content_type=CONTENT_TYPE, text=source.text
    )
    await listener.start()
    stack.push_async_callback(listener.stop)
    source.begin()
    return listener.address


async def _serve_http(
    stack: AsyncExitStack,
    config: Config,
    server: Server,
    chain: Callable[..., Chain],
    clock: Clock,
    metrics: MetricsSource,
) -> str:
    """The gateway's URL; empty if it is off."""
    if not config.bind:
        return ""
    # What nobody asked for costs no time at start.
    from kronforce.http_gateway import serve_http, url_of  # noqa: PLC0415

    listener = await serve_http(config, server.endpoints, chain, clock, metrics)
    stack.push_async_callback(listener.stop)
    return url_of(config, listener)


def _told_to_this_host(
    config: Config, server: Server, *, metrics: str, http: str
) -> AbstractContextManager[None]:
    return data_dir.endpoint(
        config.data_dir,
        address=server.address,
        tls=config.tls_cert is not None,
        ca_file=str(config.tls_cert or ""),
        metrics=metrics,
        http=http,
    )
