"""Which controller runs, and what it listens on or could."""

import errno
import json
import os
import shutil
import socket
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kronforce import data_dir
from kronforce.host import (
    checks_network,
)
from kronforce.host.findings import Verdict
from kronforce.host.running import running
from tests.unit.host.machine import NOW, around, controller_of, found, only


def test_a_controller_is_known_by_the_lock_that_it_holds(folder, proc):
    assert only(checks_network.controller, around(folder, proc))[0] == Verdict.FINE
    controller_of(folder, proc, pid=42)
    assert only(checks_network.controller, around(folder, proc))[0] == Verdict.WARNING
    (folder / data_dir.ENDPOINT).write_text(json.dumps({"address": "127.0.0.1:5", "pid": 42}))
    verdict, message = only(checks_network.controller, around(folder, proc))
    assert (verdict, message) == (Verdict.FINE, "process 42, at 127.0.0.1:5")


def test_another_process_with_the_number_of_a_dead_controller_is_none(folder, proc):
    controller_of(folder, proc, pid=42, address="127.0.0.1:5")
    shutil.rmtree(proc / "42" / "fd")
    (proc / "42" / "fd").mkdir()
    assert running(folder, proc) is None
    verdict, message = only(checks_network.controller, around(folder, proc))
    assert (verdict, "did not end by itself" in message) == (Verdict.WARNING, True)


def test_this_process_is_found_by_the_lock_that_it_holds(folder):
    with data_dir.held(folder):
        found_here = running(folder)
    assert found_here is not None
    assert found_here.pid == os.getpid()
    assert running(folder) is None


def test_an_address_that_somebody_else_has_is_wrong_and_a_free_one_is_fine(folder, proc):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        any_port = "127.0.0.1:0"
        where = around(folder, proc, grpc_bind=any_port, bind=address, metrics_bind=any_port)
        (grpc, _), (http, said), (metrics, _) = found(checks_network.addresses, where)
        assert (grpc, http, metrics) == (Verdict.FINE, Verdict.WRONG, Verdict.FINE)
        assert "in use" in said
        controller_of(folder, proc, pid=42, address=address)
        assert found(checks_network.addresses, where) == []


def test_an_address_of_another_machine_is_wrong(folder, proc):
    where = around(folder, proc, grpc_bind="192.0.2.1:50051", bind="", insecure=True)
    (address, said), (clear, _) = found(checks_network.addresses, where)
    assert (address, clear) == (Verdict.WRONG, Verdict.WARNING)
    assert os.strerror(errno.EADDRNOTAVAIL) in said


def test_http_that_others_can_read_along_is_said_too(folder, proc):
    where = around(folder, proc, grpc_bind="127.0.0.1:0", bind="192.0.2.1:8080", insecure=True)
    *_, (clear, said) = found(checks_network.addresses, where)
    assert (clear, "192.0.2.1:8080" in said) == (Verdict.WARNING, True)


@pytest.mark.parametrize(
    ("days", "verdict"), [(90, Verdict.FINE), (10, Verdict.WARNING), (-1, Verdict.WRONG)]
)
def test_a_certificate_is_held_against_the_calendar(folder, proc, tmp_path, days, verdict):
    certificate, key = certificate_until(tmp_path, NOW + timedelta(days=days))
    where = around(folder, proc, tls_cert=certificate, tls_key=key)
    assert only(checks_network.certificate, where)[0] == verdict


def test_a_certificate_that_cannot_be_read_is_wrong_and_none_is_nothing(folder, proc, tmp_path):
    where = around(folder, proc, tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.pem")
    assert only(checks_network.certificate, where)[0] == Verdict.WRONG
    assert found(checks_network.certificate, around(folder, proc)) == []


def certificate_until(folder: Path, ends: datetime) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return folder / "cert.pem", folder / "key.pem"
