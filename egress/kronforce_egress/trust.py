"""TLS: whom to believe, and who we are. Every check of OpenSSL's stays on; there is no switch.

A client's key is never written to a disk: OpenSSL loads it only from a file, so it is given one
that lives in memory.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from kronforce_egress.errors import BadRequest


@dataclass(frozen=True, kw_only=True, repr=False)
class Trust:
    """PEM texts; all empty: the system's trust, no client certificate."""

    ca_pem: str = ""
    certificate_pem: str = ""
    key_pem: str = ""

    def __bool__(self) -> bool:
        return bool(self.ca_pem or self.certificate_pem or self.key_pem)


def make_context(trust: Trust) -> ssl.SSLContext:
    """A client's context. Takes 10 ms with the system's certificates. Raises BadRequest."""
    try:
        context = ssl.create_default_context(cadata=trust.ca_pem or None)
    except (ssl.SSLError, ValueError):
        raise BadRequest("ca_pem holds no certificate in PEM form") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.certificate_pem or trust.key_pem:
        _load_client(context, trust)
    return context


def _load_client(context: ssl.SSLContext, trust: Trust) -> None:
    if not (trust.certificate_pem and trust.key_pem):
        raise BadRequest("client_certificate_pem and client_key_pem go together; one is missing")
    file = os.memfd_create("client")
    try:
        os.write(file, f"{trust.key_pem}\n{trust.certificate_pem}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_encrypted)
    except ssl.SSLError as error:
        mismatch = "MISMATCH" in (error.reason or "")
        raise BadRequest(
            "client_key_pem is not the key of client_certificate_pem"
            if mismatch
            else "client_certificate_pem and client_key_pem are no certificate and key in PEM form"
        ) from None
    finally:
        os.close(file)


def _encrypted() -> str:
    """Asked for by OpenSSL, which would otherwise read a password from the terminal."""
    raise BadRequest("client_key_pem is encrypted; give it without a password, as a secret")
