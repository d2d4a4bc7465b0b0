"""TLS material as it is read at start."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from kronforce.config import CannotStart

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The server's certificate (with its chain) and key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def ca_pem(self) -> str:
        """What an agent pins: the last certificate of the chain, which signed the others."""
        blocks = _CERTIFICATE.findall(self.certificate.decode("ascii", errors="replace"))
        return str(blocks[-1]) + "\n"

    @property
    def ca_der(self) -> bytes:
        """The same as a join token carries it."""
        return ssl.PEM_cert_to_DER_cert(self.ca_pem)


def load(certificate: Path | None, key: Path | None) -> Tls | None:
    """Read and check both files; None if neither is named. Raises CannotStart."""
    if certificate is None or key is None:
        return None
    try:
        # Whether they are whole and belong together is said here, by name, and not by grpc.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        return Tls(certificate=certificate.read_bytes(), key=key.read_bytes())
    except ssl.SSLError as error:
        raise CannotStart(
            f"{certificate} and {key} are not a certificate and its key (PEM): {error.reason}"
        ) from error
    except OSError as error:
        raise CannotStart(
            f"cannot read the TLS file {error.filename or certificate}: {error.strerror}"
        ) from error
