"""TLS files: read whole, checked by name, the right certificate pinned."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from kronforce.config import CannotStart
from kronforce.security import tls


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", f"/CN={name}", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_no_files_mean_no_tls() -> None:
    assert tls.load(None, None) is None


def test_the_last_certificate_of_the_chain_is_what_agents_pin(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "leaf")
    ca, _ = self_signed(tmp_path, "ca")
    certificate.write_bytes(certificate.read_bytes() + b"\n" + ca.read_bytes())
    loaded = tls.load(certificate, key)
    assert loaded is not None
    assert loaded.ca_der == ssl.PEM_cert_to_DER_cert(ca.read_text())
    assert "PRIVATE" not in repr(loaded)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path, "one")
    _, key = self_signed(tmp_path, "two")
    with pytest.raises(CannotStart, match="not a certificate and its key"):
        tls.load(certificate, key)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot read the TLS file"):
        tls.load(tmp_path / "absent.pem", tmp_path / "absent.key")
