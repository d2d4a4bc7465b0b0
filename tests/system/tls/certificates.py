"""A CA and what it signs, made with the `openssl` command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A self-signed CA."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str) -> Authority:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    where = ("-keyout", str(key), "-out", str(certificate))
    _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", *where)
    return Authority(certificate=certificate, key=key)


def make_server(folder: Path, authority: Authority) -> tuple[Path, Path]:
    """A certificate for this host, with its chain, and its key."""
    request, extension = folder / "server.csr", folder / "server.ext"
    leaf, chain, key = folder / "leaf.pem", folder / "server.pem", folder / "server.key"
    extension.write_text(NAMES)
    _openssl("req", *_NEW_KEY, "-subj", "/CN=server", "-keyout", str(key), "-out", str(request))
    signer = ("-CA", str(authority.certificate), "-CAkey", str(authority.key), "-CAcreateserial")
    made = ("-days", "2", "-extfile", str(extension), "-out", str(leaf))
    _openssl("x509", "-req", "-in", str(request), *signer, *made)
    chain.write_text(leaf.read_text() + authority.certificate.read_text())
    return chain, key


def make_client(folder: Path, authority: Authority, name: str) -> tuple[Path, Path]:
    """A client's certificate and its key."""
    request, certificate, key = (folder / f"{name}.{end}" for end in ("csr", "pem", "key"))
    _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    signer = ("-CA", str(authority.certificate), "-CAkey", str(authority.key), "-CAcreateserial")
    _openssl("x509", "-req", "-in", str(request), *signer, "-days", "2", "-out", str(certificate))
    return certificate, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
