"""The comfortable client of Kronforce: `Client` and, for asyncio, `AsyncClient`.

Names are imported on first use, so that a program which only wants the JSON dialect or the
discovery of addresses does not load grpc. Knows the contract and nothing else of the controller;
runs on any system.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kronforce_client.aio import AsyncClient as AsyncClient
    from kronforce_client.apply import Applied as Applied
    from kronforce_client.apply import Change as Change
    from kronforce_client.apply import Planned as Planned
    from kronforce_client.errors import ClientError as ClientError
    from kronforce_client.errors import Conflict as Conflict
    from kronforce_client.errors import CursorTooOld as CursorTooOld
    from kronforce_client.errors import Forbidden as Forbidden
    from kronforce_client.errors import Invalid as Invalid
    from kronforce_client.errors import NeverRan as NeverRan
    from kronforce_client.errors import NotFound as NotFound
    from kronforce_client.errors import Overloaded as Overloaded
    from kronforce_client.errors import RunFailed as RunFailed
    from kronforce_client.errors import ServerFault as ServerFault
    from kronforce_client.errors import TimedOut as TimedOut
    from kronforce_client.errors import Unauthenticated as Unauthenticated
    from kronforce_client.errors import Unreachable as Unreachable
    from kronforce_client.errors import Unsupported as Unsupported
    from kronforce_client.errors import Violation as Violation
    from kronforce_client.follow import Interruption as Interruption
    from kronforce_client.jobs import trigger_request as trigger_request
    from kronforce_client.status import error_of as error_of
    from kronforce_client.sync import Client as Client

_HOMES = {
    "AsyncClient": "aio",
    "Applied": "apply",
    "Change": "apply",
    "Planned": "apply",
    "ClientError": "errors",
    "Conflict": "errors",
    "CursorTooOld": "errors",
    "Forbidden": "errors",
    "Invalid": "errors",
    "NeverRan": "errors",
    "NotFound": "errors",
    "Overloaded": "errors",
    "RunFailed": "errors",
    "ServerFault": "errors",
    "TimedOut": "errors",
    "Unauthenticated": "errors",
    "Unreachable": "errors",
    "Unsupported": "errors",
    "Violation": "errors",
    "Interruption": "follow",
    "trigger_request": "jobs",
    "Client": "sync",
    "error_of": "status",
}
__all__ = [
    "Applied",
    "AsyncClient",
    "Change",
    "Client",
    "ClientError",
    "Conflict",
    "CursorTooOld",
    "Forbidden",
    "Interruption",
    "Invalid",
    "NeverRan",
    "NotFound",
    "Overloaded",
    "Planned",
    "RunFailed",
    "ServerFault",
    "TimedOut",
    "Unauthenticated",
    "Unreachable",
    "Unsupported",
    "Violation",
    "error_of",
    "trigger_request",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
