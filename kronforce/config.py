"""Settings of the server side: flag, then environment, then the TOML file, then the default.

Every setting has one name in all three: `grpc_bind` is `--grpc-bind`,
KRONFORCE_GRPC_BIND and a line `grpc_bind = …`. A wrong value is refused with
the place it came from. Nothing here touches a file but the one that is named
by `--config`, and nothing of ours is imported.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOG_LEVELS = ("debug", "info", "warning", "error")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Every address of this machine, and the one that a client on it calls.
_CALLED_AS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


class CannotStart(Exception):
    """Why a process does not start: one sentence with the way out."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that can be set."""

    data_dir: Path
    # A SQLite file, or a postgresql:// URL.
    db: str = field(repr=False)
    grpc_bind: str = "127.0.0.1:50051"
    # The HTTP gateway's; empty (`off`): no HTTP.
    bind: str = "127.0.0.1:8080"
    # Calls a minute over HTTP: public ones by address, the others by key; 0: not limited.
    rate_limit_enabled: bool = True
    rate_limit_public: int = 30
    rate_limit_authenticated: int = 120
    rate_limit_agent: int = 600
    # The same over gRPC, where nothing is limited by default.
    grpc_rate_limit_public: int = 0
    grpc_rate_limit_authenticated: int = 0
    grpc_rate_limit_agent: int = 0
    # Who may say for whom it calls (X-Forwarded-For): proxies, gateways of their own.
    trusted_proxies: tuple[Network, ...] = ()
    # How browsers reach the gateway, where that is not its own address.
    public_url: str = ""
    # Host names that are answered beside it; none, and not on loopback: all.
    allowed_hosts: tuple[str, ...] = ()
    # Whether /metrics on the gateway's port needs no key, whoever asks.
    metrics_public: bool = False
    # Where Prometheus may ask for metrics, without a key and in the clear; empty: nowhere.
    metrics_bind: str = ""
    # The first admin key, brought instead of made.
    bootstrap_admin_key: str = field(default="", repr=False)
    # The built-in agent's.
    agent_name: str = "local"
    agent_tags: tuple[str, ...] = ()
    # The master key of secrets, base64 of 32 bytes, or the file that holds it. Neither:
    # `secrets.key` in the data folder.
    secrets_key: str = field(default="", repr=False)
    secrets_key_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    # Listening elsewhere than on loopback without TLS.
    insecure: bool = False
    log_level: str = "info"
    # Bytes: below this many free ones triggers and output are refused.
    disk_reserve: int = 256 << 20
    # Waiting runs that the store takes.
    max_pending: int = 1_000_000
    # Finished runs, their output and events are kept this long.
    retention_days: int = 7
    # Entries of the audit log are kept this long.
    audit_retention_days: int = 90
    # Whether operators' process tasks may run as the controller's user.
    trust_operators: bool = False
    # Whether custom agents on this host need no key.
    open_agents: bool = False
    # Whether AI clients are served at /mcp of the gateway.
    mcp_enabled: bool = True

    @property
    def sqlite(self) -> bool:
        """Whether the store is a file."""
        return not self.db.startswith(("postgresql://", "postgres://"))

    @property
    def folders(self) -> list[Path]:
        """Where room is needed: the data folder, and the database's where that is another one."""
        found = [self.data_dir]
        if self.sqlite and (beside := Path(self.db).parent) not in found:
            found.append(beside)
        return found


def load(flags: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Config:
    """Settle every setting. `flags` holds what the command line says, by setting name.

    Raises CannotStart for an unknown or a wrong setting.
    """
    environ = os.environ if environ is None else environ
    named = flags.get("config") or environ.get("KRONFORCE_CONFIG")
    file = _read_file(Path(str(named))) if named else {}
    values: dict[str, Any] = {}
    for name, parse in _SETTINGS.items():
        found = _find(name, flags, environ, file)
        if found is not None:
            values[name] = _parsed(parse, *found)
    values.setdefault("data_dir", default_data_dir(environ))
    values.setdefault("db", str(values["data_dir"] / "kronforce.db"))
    config = Config(**values)
    _check_together(config)
    return config


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """/var/lib/kronforce as root, otherwise below the user's state folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/kronforce")
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "kronforce"


def _find(
    name: str,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    file: Mapping[str, object],
) -> tuple[object, str] | None:
    """The value that wins, and where it stands."""
    if flags.get(name) is not None:
        return flags[name], "--" + name.replace("_", "-")
    variable = "KRONFORCE_" + name.upper()
    if environ.get(variable):
        return environ[variable], variable
    if name in file:
        return file[name], f"{name} in the config file"
    return None


def _read_file(path: Path) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CannotStart(f"cannot read the config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CannotStart(f"{path} is not valid TOML: {error}") from error
    for name in content:
        if name not in _SETTINGS:
            raise CannotStart(f"{path}: there is no setting {name!r}; known: {_known()}")
    return content


def _known() -> str:
    return ", ".join(sorted(_SETTINGS))


def _parsed(parse: Callable[[Any], Any], value: object, where: str) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError) as error:
        raise CannotStart(f"{where}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not text")
    return value


def _path(value: Any) -> Path:
    return Path(value if isinstance(value, Path) else _text(value)).expanduser().absolute()


def _db(value: Any) -> str:
    text = str(value)
    if text.startswith(("postgresql://", "postgres://")):
        return text
    if "://" in text:
        raise ValueError("a file, or a URL that begins with postgresql://")
    return str(_path(text))


def _address(value: Any) -> str:
    host, colon, port = _text(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"{value!r} is not host:port, for example 127.0.0.1:50051")
    return f"{host or '0.0.0.0'}:{port}"  # noqa: S104 - `:50051` means every address, and needs TLS


def _http_address(value: Any) -> str:
    """An address, or `off`."""
    return "" if value == "off" else _address(value)


def _metrics_address(value: Any) -> str:
    """The same, or a port alone: of this machine, as whoever reaches it needs no key."""
    text = str(value)
    return _address(f"127.0.0.1:{text}" if text.isdecimal() else text)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(value).lower() not in words:
        raise ValueError(f"{value!r} is neither true nor false")
    return words[str(value).lower()]


def _count(minimum: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = _whole(value)
        if number < minimum:
            raise ValueError(f"{number} is too small; at least {minimum}")
        return number

    return parse


def _whole(value: Any) -> int:
    text = str(value).strip().replace("_", "")
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"{value!r} is not a whole number")
    return int(text)


def _size(value: Any) -> int:
    """Bytes: a number, or one with KiB, MiB, GiB or TiB."""
    text = str(value).strip().lower()
    digits = text.rstrip("bkmgti ")
    unit = text[len(digits) :].strip()
    if not digits.isdecimal() or unit not in _UNITS:
        raise ValueError(f"{value!r} is not a size, for example 256MiB")
    return int(digits) * _UNITS[unit]


def _level(value: Any) -> str:
    if value not in LOG_LEVELS:
        raise ValueError(f"{value!r} is not one of {', '.join(LOG_LEVELS)}")
    return str(value)


def _words(value: Any) -> tuple[str, ...]:
    """A TOML list, or words with commas between them."""
    words = value.split(",") if isinstance(value, str) else value
    return tuple(word.strip() for word in words if word.strip())


def _networks(value: Any) -> tuple[Network, ...]:
    """Addresses and networks."""
    return tuple(_network(word) for word in _words(value))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is neither an address nor a network, for example 10.0.0.0/8"
        ) from error


def _hosts(value: Any) -> tuple[str, ...]:
    """Names of hosts, without ports."""
    names = tuple(word.lower().strip("[]") for word in _words(value))
    for name in names:
        if "/" in name or (":" in name and not _is_address(name)):
            raise ValueError(f"{name!r} is no host name; without scheme and port, please")
    return names


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _url(value: Any) -> str:
    """A scheme and a host, without a path."""
    text = _text(value).rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port or 0
    except ValueError as error:
        raise ValueError(f"{value!r} is no URL: {error}") from error
    plain = f"{parts.scheme}://{parts.netloc}" == text and "@" not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or port < 0:
        raise ValueError(f"{value!r} is not like https://kronforce.example")
    return text


_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "data_dir": _path,
    "db": _db,
    "grpc_bind": _address,
    "bind": _http_address,
    "rate_limit_enabled": _boolean,
    "rate_limit_public": _count(0),
    "rate_limit_authenticated": _count(0),
    "rate_limit_agent": _count(0),
    "grpc_rate_limit_public": _count(0),
    "grpc_rate_limit_authenticated": _count(0),
    "grpc_rate_limit_agent": _count(0),
    "trusted_proxies": _networks,
    "public_url": _url,
    "allowed_hosts": _hosts,
    "metrics_public": _boolean,
    "metrics_bind": _metrics_address,
    "bootstrap_admin_key": _text,
    "agent_name": _text,
    "agent_tags": _words,
    "secrets_key": _text,
    "secrets_key_file": _path,
    "tls_cert": _path,
    "tls_key": _path,
    "insecure": _boolean,
    "log_level": _level,
    "disk_reserve": _size,
    "max_pending": _count(1),
    "retention_days": _count(1),
    "audit_retention_days": _count(1),
    "trust_operators": _boolean,
    "open_agents": _boolean,
    "mcp_enabled": _boolean,
}


def _check_together(config: Config) -> None:
    if config.secrets_key and config.secrets_key_file is not None:
        raise CannotStart(
            "the master key of secrets is given twice: KRONFORCE_SECRETS_KEY and"
            " --secrets-key-file; keep one of them"
        )
    if (config.tls_cert is None) != (config.tls_key is None):
        missing = "--tls-key" if config.tls_key is None else "--tls-cert"
        raise CannotStart(f"TLS needs the certificate and its key: {missing} is missing")
    exposed = [each for each in (config.grpc_bind, config.bind) if each and not is_loopback(each)]
    if config.open_agents and exposed:
        raise CannotStart(
            f"{exposed[0]} can be reached from other machines, and with --open-agents whoever"
            " reaches it could take work without a key: listen on 127.0.0.1, or leave it out"
        )
    if config.tls_cert is None and not config.insecure and exposed:
        raise CannotStart(
            f"{exposed[0]} can be reached from other machines and keys would travel in the"
            " clear: give --tls-cert and --tls-key, or say --insecure"
        )


def local_address(bind: str, port: int) -> str:
    """Where a client on this host calls what listens on `bind` and was given this port."""
    host = bind.rpartition(":")[0]
    return f"{_CALLED_AS.get(host, host)}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
