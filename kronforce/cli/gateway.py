"""`kronforce gateway`: HTTP for a controller elsewhere, until SIGTERM or Ctrl-C."""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kronforce.cli.failure import CommandError
from kronforce.cli.given_flags import given, settled
from kronforce.cli.session import current

if TYPE_CHECKING:
    from kronforce.config import Config

_SWITCH = Parameter(negative=())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GatewayFlags:
    """Settings of the gateway. Each is also an environment variable and a line of --config.

    Parameters
    ----------
    config
        A TOML file with settings.
    bind
        Where it listens, host:port.
    tls_cert
        The certificate of its port (with its chain), PEM.
    tls_key
        Its key, PEM.
    insecure
        Listen beyond this machine without TLS.
    trusted_proxies
        Addresses or networks, with commas, that may say for whom they call (X-Forwarded-For).
    public_url
        How browsers reach it, where that is another address: https://kronforce.example.
    allowed_hosts
        Names, with commas, under which it may be called besides.
    rate_limit_enabled
        Limit calls a minute; true.
    rate_limit_public
        Public calls a minute from one address; 0: any number.
    rate_limit_authenticated
        Calls a minute with one key; 0: any number.
    rate_limit_agent
        Calls a minute with one agent's credential; 0: any number.
    mcp_enabled
        Serve AI clients at /mcp; true.
    metrics_public
        Let everybody GET /metrics without a key.
    log_level
        debug, info, warning or error.
    """

    config: Path | None = None
    bind: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: Annotated[bool | None, _SWITCH] = None
    trusted_proxies: str | None = None
    public_url: str | None = None
    allowed_hosts: str | None = None
    rate_limit_enabled: bool | None = None
    rate_limit_public: int | None = None
    rate_limit_authenticated: int | None = None
    rate_limit_agent: int | None = None
    mcp_enabled: bool | None = None
    metrics_public: Annotated[bool | None, _SWITCH] = None
    log_level: str | None = None

    def load(self, environ: Mapping[str, str]) -> Config:
        """Everything settled. Raises CommandError."""
        # gRPC is not served here, so nothing about it can be wrong.
        return settled({**given(self), "grpc_bind": "127.0.0.1:0"}, environ)


def gateway(
    flags: GatewayFlags | None = None,
    *,
    controller: str | None = None,
    ca_file: Path | None = None,
    controller_insecure: Annotated[bool, _SWITCH] = False,
) -> int:
    """Serve HTTP for a controller elsewhere; it has to trust this host with --trusted-proxies.

    Parameters
    ----------
    flags
        Settings of the gateway.
    controller
        Where the controller's gRPC listens, host:port; also KRONFORCE_CONTROLLER.
    ca_file
        Who signed the controller's certificate, PEM; also KRONFORCE_CA_FILE. By default whom this
        host trusts.
    controller_insecure
        Call a controller beyond this machine without TLS.
    """
    environ = current().settings.environ
    config = (flags or GatewayFlags()).load(environ)
    from kronforce import gateway_process
    from kronforce.config import CannotStart
    from kronforce_client.discovery import with_port

    address = controller or environ.get("KRONFORCE_CONTROLLER", "")
    if not address:
        raise CommandError("which controller?", "kronforce gateway --controller HOST:PORT")
    ca = ca_file or environ.get("KRONFORCE_CA_FILE")
    remote = gateway_process.Remote(
        address=with_port(address), ca_file=Path(ca) if ca else None, insecure=controller_insecure
    )
    try:
        gateway_process.run(config, remote)
    except CannotStart as error:
        raise CommandError(str(error)) from error
    return 0
