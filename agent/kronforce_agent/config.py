"""What the agent is told: flags, then environment, then defaults. Secrets come by file or
environment only, never by argument, because arguments are for everybody on the host to read.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kronforce_agent.tasks import REGISTRY

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_SPOOL_BYTES = 1024**3
DEFAULT_STOP_WITHIN_SECS = 15.0
"""With --stop-tasks: TERM, the usual grace of 10 s, KILL, report."""
SLOTS_PER_CPU = 4
MIN_SLOTS = 16
MAX_SLOTS = 10_000
"""The contract's bounds for slots."""


class ConfigError(Exception):
    """Something that the user said cannot be; the message names it and the way out."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Everything settled: nothing below reads the environment for it again."""

    address: str
    name: str
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str]
    folder: Path
    """<data dir>/agent-<name>."""
    token_file: Path | None = None
    slots: int
    ca_file: Path | None = None
    insecure: bool = False
    stop_tasks: bool = False
    stop_within_secs: float = DEFAULT_STOP_WITHIN_SECS
    spool_max_bytes: int = DEFAULT_SPOOL_BYTES
    task_types: tuple[str, ...]
    log_level: str = "info"

    def join_token(self, environ: Mapping[str, str]) -> str:
        """From the file or KRONFORCE_JOIN_TOKEN; empty if there is none. Raises ConfigError."""
        if self.token_file is None:
            return environ.get("KRONFORCE_JOIN_TOKEN", "").strip()
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"--token-file {self.token_file}: {error.strerror}") from error


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> AgentConfig:
    """Raises ConfigError, and SystemExit for what argparse itself answers (--help, usage)."""
    args = _parser(environ).parse_args(argv)
    if not 1 <= args.slots <= MAX_SLOTS:
        raise ConfigError(f"--slots {args.slots}: from 1 to {MAX_SLOTS:,}")
    if not 1 <= len(args.name) <= 100 or "/" in args.name or args.name.startswith("."):
        raise ConfigError(f"--name {args.name!r}: 1 to 100 characters, no slash, no leading dot")
    if "://" in args.address:
        # It would be asked for for ever: to grpc it is a host name that nobody has.
        raise ConfigError(f"--address {args.address}: a URL; wanted is host:port, where gRPC is")
    return AgentConfig(
        address=args.address,
        name=args.name,
        tags=_words(args.tags),
        labels=_pairs(args.labels),
        folder=Path(args.data_dir).expanduser().absolute() / f"agent-{args.name}",
        token_file=Path(args.token_file) if args.token_file else None,
        slots=args.slots,
        ca_file=Path(args.ca) if args.ca else None,
        insecure=args.insecure,
        stop_tasks=args.stop_tasks,
        stop_within_secs=args.stop_within,
        spool_max_bytes=args.spool_max,
        task_types=_task_types(args.task_types),
        log_level=args.log_level,
    )


def default_data_dir(environ: Mapping[str, str]) -> str:
    """Where state belongs: the system's place for root, otherwise the user's."""
    if os.geteuid() == 0:
        return "/var/lib/kronforce"
    state = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(state) / "kronforce")


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kronforce agent run", description="Runs the executions that a controller assigns."
    )
    add = parser.add_argument
    add("--address", default=environ.get("KRONFORCE_ADDRESS") or DEFAULT_ADDRESS)
    add("--name", default=environ.get("KRONFORCE_AGENT_NAME") or socket.gethostname())
    add("--tags", default=environ.get("KRONFORCE_AGENT_TAGS", ""), help="a,b")
    add("--labels", default=environ.get("KRONFORCE_AGENT_LABELS", ""), help="key=value,…")
    add("--data-dir", default=environ.get("KRONFORCE_DATA_DIR") or default_data_dir(environ))
    add("--token-file", help="holds the join token; or KRONFORCE_JOIN_TOKEN")
    add("--slots", type=int, default=default_slots(), help="executions at a time")
    add("--ca", help="PEM file that the controller's certificate must chain to")
    add("--insecure", action="store_true", help="no TLS, although not on loopback")
    add("--stop-tasks", action="store_true", help="end running tasks when the agent is stopped")
    add(
        "--stop-within",
        type=float,
        default=DEFAULT_STOP_WITHIN_SECS,
        help="seconds that --stop-tasks may take; then they are killed",
    )
    add("--spool-max", type=int, default=DEFAULT_SPOOL_BYTES, help="bytes of output kept on disk")
    add("--task-types", default="", help=f"only these of {','.join(REGISTRY)}")
    levels = ("debug", "info", "warning", "error")
    add("--log-level", default=environ.get("KRONFORCE_LOG_LEVEL") or "info", choices=levels)
    return parser


def default_slots() -> int:
    return min(MAX_SLOTS, max(MIN_SLOTS, SLOTS_PER_CPU * (os.cpu_count() or 1)))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--labels {word!r}: expected key=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _task_types(text: str) -> tuple[str, ...]:
    names = _words(text) or tuple(REGISTRY)
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise ConfigError(f"--task-types {unknown[0]!r}: this agent has {', '.join(REGISTRY)}")
    return names
