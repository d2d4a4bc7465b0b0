"""Every service of the contract: whatever `kronforce.v1` holds in a file called `…_service`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from google.protobuf.descriptor import ServiceDescriptor

from kronforce import v1


def _services() -> tuple[ServiceDescriptor, ...]:
    names = sorted(m.name for m in iter_modules(v1.__path__) if m.name.endswith("_service_pb2"))
    files = (import_module(f"{v1.__name__}.{name}") for name in names)
    return tuple(each for file in files for each in file.DESCRIPTOR.services_by_name.values())


SERVICES = _services()
