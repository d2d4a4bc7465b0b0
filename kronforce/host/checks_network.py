"""What the controller listens on, or could: addresses, and the certificate that it shows."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

from cryptography import x509

from kronforce.config import CannotStart, is_loopback
from kronforce.host.findings import Finding, Surroundings, fine, warning, wrong
from kronforce.host.running import endpoint, running
from kronforce.security import tls

# Let's Encrypt renews with a third of 90 days left; whoever has less has missed it.
CERTIFICATE_SOON = timedelta(days=21)


def controller(where: Surroundings) -> Iterator[Finding]:
    """Whether one runs on the data folder."""
    found = running(where.config.data_dir, where.proc)
    left = endpoint(where.config.data_dir)
    if found is not None and found.address:
        yield fine("controller", f"process {found.pid}, at {found.address}")
    elif found is not None:
        yield warning(
            "controller",
            f"process {found.pid} has the data folder and does not listen yet",
            "wait: a migration may take minutes; its log says what it does",
        )
    elif left:
        yield warning(
            "controller",
            f"none runs, and the last one (process {left.get('pid')}) did not end by itself",
            "start it again, nothing is lost: kronforce up, or systemctl start kronforce",
        )
    else:
        yield fine("controller", "none runs on this data folder")


def addresses(where: Surroundings) -> Iterator[Finding]:
    """Free, unless a controller runs and has them; and what others reach is meant for them."""
    config = where.config
    if running(config.data_dir, where.proc) is None:
        yield _address("gRPC address", config.grpc_bind, "--grpc-bind")
        if config.bind:
            yield _address("HTTP address", config.bind, "--bind")
        if config.metrics_bind:
            yield _address("metrics address", config.metrics_bind, "--metrics-bind")
    # Without `insecure` such settings are refused before anybody looks at the host.
    exposed = [each for each in (config.grpc_bind, config.bind) if each and not is_loopback(each)]
    if exposed and config.tls_cert is None:
        yield warning(
            "tls",
            f"whoever reaches {exposed[0]} can read along: --insecure",
            "a certificate with --tls-cert and --tls-key",
        )


def _address(check: str, address: str, flag: str) -> Finding:
    taken = _taken(address)
    if taken is None:
        return fine(check, f"{address} is free")
    port = address.rpartition(":")[2]
    if taken.errno == errno.EADDRINUSE:
        way_out = f"ss -ltnp 'sport = :{port}' says whose it is; or another one with {flag}"
        return wrong(check, f"{address} is in use, and not by this controller", way_out)
    if taken.errno == errno.EACCES:
        way_out = f"a port from 1024 with {flag}, or AmbientCapabilities=CAP_NET_BIND_SERVICE"
        return wrong(check, f"only root may listen on port {port} here", way_out)
    reason = taken.strerror or str(taken)
    return wrong(check, f"cannot listen on {address}: {reason}", f"an address of this host: {flag}")


def _taken(address: str) -> OSError | None:
    """Why nobody could listen there now."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            # As grpc does; connections that have ended hold nobody up.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def certificate(where: Surroundings) -> Iterator[Finding]:
    """Whole, with its key, and not about to end."""
    config = where.config
    try:
        found = tls.load(config.tls_cert, config.tls_key)
    except CannotStart as error:
        yield wrong("tls", str(error), "see --tls-cert and --tls-key")
        return
    if found is None:
        return
    ends = min(
        each.not_valid_after_utc for each in x509.load_pem_x509_certificates(found.certificate)
    )
    left = ends - where.clock.now()
    text = f"{config.tls_cert} is valid until {ends:%Y-%m-%d %H:%M} UTC"
    way_out = "renew it; the controller reads it at its start"
    if left <= timedelta():
        yield wrong("tls", f"{config.tls_cert} has ended {ends:%Y-%m-%d %H:%M} UTC", way_out)
    elif left < CERTIFICATE_SOON:
        yield warning("tls", f"{text}, {left.days} days from now", way_out)
    else:
        yield fine("tls", text)
