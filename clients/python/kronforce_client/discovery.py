"""Finds the server and the key: arguments, environment, login context, the controller's own host.

A key is sent only to the address that it was stored for: a key from a context or from the host's
data folder is never given to an address that somebody typed, unless it is the same one. Nothing
here connects, and nothing but the standard library is imported.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kronforce_client.errors import Invalid

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_PORT = 50051


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where to call, and as whom. `source` says for people where that was found."""

    address: str
    key: str = ""
    tls: bool = False
    ca_file: str = ""
    insecure: bool = False
    source: str = ""
    # Where the same controller serves HTTP, if that is known: a URL without a path.
    http: str = ""

    def __repr__(self) -> str:
        shown = "set" if self.key else "none"
        return f"Connection(address={self.address!r}, key={shown}, tls={self.tls})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller said, before anything was looked up. Empty means: not said."""

    address: str = ""
    key: str = ""
    ca_file: str = ""
    context: str = ""
    insecure: bool = False


def discover(wanted: Wanted, environ: Mapping[str, str] | None = None) -> Connection:
    """The connection to use.

    Raises LookupError for a context that does not exist, and Invalid for what is no address.
    """
    environ = os.environ if environ is None else environ
    stored = _stored(wanted, environ)
    named = wanted.address or ("" if wanted.context else environ.get("KRONFORCE_ADDRESS", ""))
    key = wanted.key or ("" if wanted.context else environ.get("KRONFORCE_KEY", ""))
    known = _first_match(stored, with_port(named) if named else "")
    found = known or Connection(address=with_port(named or DEFAULT_ADDRESS), source="default")
    ca_file = wanted.ca_file or found.ca_file
    return replace(
        found,
        key=key or found.key,
        ca_file=ca_file,
        insecure=wanted.insecure or found.insecure,
        tls=_wants_tls(found, ca_file, insecure=wanted.insecure or found.insecure),
        source="arguments or environment" if named and not known else found.source,
    )


def _stored(wanted: Wanted, environ: Mapping[str, str]) -> list[Connection]:
    contexts = Contexts.load(contexts_file(environ))
    if wanted.context:
        return [contexts.get(wanted.context)]
    current = contexts.current_connection()
    return [each for each in (current, on_this_host(environ)) if each is not None]


def _first_match(stored: list[Connection], address: str) -> Connection | None:
    for each in stored:
        if not address or each.address == address:
            return each
    return None


def _wants_tls(found: Connection, ca_file: str, *, insecure: bool) -> bool:
    if insecure:
        return False
    return found.tls or bool(ca_file) or not is_loopback(found.address)


def with_port(address: str) -> str:
    """`host` or `host:port` as `host:port`. Raises Invalid for what is neither."""
    wanted = "an address is host:port, where gRPC listens, for example kronforce.example:50051"
    if "://" in address:
        raise Invalid(f'"{address}" is a URL; {wanted}')
    if address.count(":") > 1 and not address.startswith(("[", "unix:")):
        if not _is_ipv6(address):
            raise Invalid(f'"{address}" is no address; {wanted}')
        return f"[{address}]:{DEFAULT_PORT}"
    has_port = ":" in address.rpartition("]")[2]
    return address if has_port else f"{address}:{DEFAULT_PORT}"


def _is_ipv6(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == 6
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """Whether `host:port` can only be this machine."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or address.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def data_dir(environ: Mapping[str, str]) -> Path:
    """The folder of a controller that runs on this host."""
    if named := environ.get("KRONFORCE_DATA_DIR"):
        return Path(named)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/kronforce")
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "kronforce"


def on_this_host(environ: Mapping[str, str]) -> Connection | None:
    """The controller whose data folder this user can read, if there is one."""
    folder = data_dir(environ)
    try:
        endpoint = json.loads((folder / "endpoint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    try:
        key = (folder / "admin.key").read_text(encoding="utf-8").strip()
    except OSError:
        key = ""
    return Connection(
        address=with_port(str(endpoint.get("address") or DEFAULT_ADDRESS)),
        key=key,
        tls=bool(endpoint.get("tls")),
        ca_file=str(endpoint.get("ca_file") or ""),
        source=str(folder),
        http=str(endpoint.get("http") or ""),
    )


def contexts_file(environ: Mapping[str, str]) -> Path:
    """Where `kronforce login` keeps what it was told."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "kronforce" / "contexts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """The stored logins, and which one is used when nothing else is said."""

    path: Path
    current: str
    entries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Contexts:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            return cls(path=path, current="", entries={})
        try:
            content = json.loads(text)
        except ValueError as error:
            raise LookupError(f"{path} is not valid JSON: {error}") from None
        return cls(
            path=path, current=content.get("current", ""), entries=content.get("contexts", {})
        )

    def get(self, name: str) -> Connection:
        """A stored login by its name."""
        if name not in self.entries:
            known = ", ".join(sorted(self.entries)) or "none"
            raise LookupError(f'there is no context "{name}" in {self.path} (known: {known})')
        entry = self.entries[name]
        return Connection(
            address=with_port(str(entry["address"])),
            key=str(entry.get("key", "")),
            tls=bool(entry.get("tls", False)),
            ca_file=str(entry.get("ca_file", "")),
            insecure=bool(entry.get("insecure", False)),
            source=f"context {name}",
        )

    def current_connection(self) -> Connection | None:
        """The login that is used by default, if there is one."""
        return self.get(self.current) if self.current in self.entries else None

    def save(self, name: str, connection: Connection) -> None:
        """Store a login as the current one; the file is readable by its owner alone."""
        entry = {
            "address": connection.address,
            "key": connection.key,
            "tls": connection.tls,
            "ca_file": connection.ca_file,
            "insecure": connection.insecure,
        }
        content = {"current": name, "contexts": {**self.entries, name: entry}}
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        fresh.replace(self.path)
