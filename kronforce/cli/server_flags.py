"""The flags of `up` and `controller`: one for each setting of the server side.

Their values travel to child processes by environment and not as arguments,
which everybody on the host can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kronforce.cli.given_flags import given, settled

if TYPE_CHECKING:
    from kronforce.config import Config

_SWITCH = Parameter(negative=())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """Settings of the server side. Each is also an environment variable and a line of --config.

    Parameters
    ----------
    config
        A TOML file with these settings; flags and environment win over it.
    data_dir
        Where keys, output and everything else that is written goes.
    db
        A SQLite file or a postgresql:// URL.
    grpc_bind
        Where gRPC listens, host:port.
    bind
        Where the HTTP gateway listens, host:port, or off.
    rate_limit_enabled
        Limit calls a minute over HTTP; true.
    rate_limit_public
        Public calls a minute from one address; 0: any number.
    rate_limit_authenticated
        Calls a minute with one key; 0: any number.
    rate_limit_agent
        Calls a minute with one agent's credential; 0: any number.
    grpc_rate_limit_public
        The same over gRPC: public calls a minute from one address; 0, any number.
    grpc_rate_limit_authenticated
        Calls a minute over gRPC with one key; 0, any number.
    grpc_rate_limit_agent
        Calls a minute over gRPC with one agent's credential; 0, any number.
    trusted_proxies
        Addresses or networks, with commas, that may say for whom they call (X-Forwarded-For).
    public_url
        How browsers reach the gateway, where that is another address: https://kronforce.example.
    allowed_hosts
        Names, with commas, under which it may be called besides.
    mcp_enabled
        Serve AI clients at /mcp of the gateway; true.
    metrics_public
        Let everybody GET /metrics on the gateway's port without a key.
    metrics_bind
        Where Prometheus may GET /metrics, a port of this machine or host:port; it needs no key.
        Nowhere by default.
    bootstrap_admin_key
        The first admin key; better by environment or file than here.
    agent_name
        What the agent of this host is called.
    agent_tags
        Its tags, with commas between them.
    secrets_key_file
        The master key of secrets (base64 of 32 bytes), in place of secrets.key in the data folder;
        or KRONFORCE_SECRETS_KEY.
    tls_cert
        The certificate (with its chain), PEM.
    tls_key
        Its key, PEM.
    insecure
        Listen beyond this machine without TLS.
    log_level
        debug, info, warning or error.
    disk_reserve
        Below this much free disk triggers are refused, for example 256MiB.
    max_pending
        How many runs may wait.
    retention_days
        How long finished runs are kept.
    audit_retention_days
        How long entries of the audit log are kept; 90.
    trust_operators
        Let operators' shell jobs run as this user; otherwise only admins'.
    open_agents
        Let custom agents of this machine poll and report without a key; on loopback only.
    """

    config: Path | None = None
    data_dir: Path | None = None
    db: str | None = None
    grpc_bind: str | None = None
    bind: str | None = None
    rate_limit_enabled: bool | None = None
    rate_limit_public: int | None = None
    rate_limit_authenticated: int | None = None
    rate_limit_agent: int | None = None
    grpc_rate_limit_public: int | None = None
    grpc_rate_limit_authenticated: int | None = None
    grpc_rate_limit_agent: int | None = None
    trusted_proxies: str | None = None
    public_url: str | None = None
    allowed_hosts: str | None = None
    mcp_enabled: bool | None = None
    metrics_public: Annotated[bool | None, _SWITCH] = None
    metrics_bind: str | None = None
    bootstrap_admin_key: str | None = None
    agent_name: str | None = None
    agent_tags: str | None = None
    secrets_key_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: Annotated[bool | None, _SWITCH] = None
    log_level: str | None = None
    disk_reserve: str | None = None
    max_pending: int | None = None
    retention_days: int | None = None
    audit_retention_days: int | None = None
    trust_operators: Annotated[bool | None, _SWITCH] = None
    open_agents: Annotated[bool | None, _SWITCH] = None

    def load(self, environ: Mapping[str, str]) -> Config:
        """Everything settled. Raises CommandError."""
        return settled(given(self), environ)

    def environment(self) -> dict[str, str]:
        """What was said on the line, for a child process."""
        return {f"KRONFORCE_{name.upper()}": str(value) for name, value in given(self).items()}
