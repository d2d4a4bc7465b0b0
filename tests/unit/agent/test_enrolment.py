import base64
from pathlib import Path

import pytest

from kronforce_agent import channel, config, enrolment
from kronforce_agent.enrolment import Credential, EnrolmentError


def test_a_stored_credential_is_read_back_and_private(tmp_path: Path) -> None:
    credential = Credential(agent_id="a", secret="kfa_x", ca_pem="pem")
    enrolment.save(tmp_path, credential)
    assert enrolment.load(tmp_path) == credential
    assert (tmp_path / "credential").stat().st_mode & 0o777 == 0o600


def test_a_damaged_credential_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "credential").write_text("{")
    with pytest.raises(EnrolmentError, match="remove it"):
        enrolment.load(tmp_path)


def test_a_secret_is_not_in_the_repr() -> None:
    assert "kfa_x" not in repr(Credential(agent_id="a", secret="kfa_x"))


def test_the_ca_in_a_token_becomes_pem() -> None:
    der = bytes(range(100))
    token = "kfj_id.secret." + base64.urlsafe_b64encode(der).decode().rstrip("=")
    pem = enrolment.pinned_ca(token)
    body = "".join(pem.splitlines()[1:-1])
    assert base64.b64decode(body) == der
    assert enrolment.pinned_ca("kfj_id.secret") == ""


@pytest.mark.parametrize(
    ("address", "stays"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/k.sock", True),
        ("10.0.0.1:50051", False),
        ("controller.example:50051", False),
        ("127.0.0.1.example:50051", False),
    ],
)
def test_plaintext_is_for_this_host_alone(address: str, *, stays: bool) -> None:
    assert channel.is_loopback(address) is stays


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = config.parse(["--ca", str(tmp_path / "no.pem")], {})
    with pytest.raises(config.ConfigError, match="--ca"):
        channel.open_channel(settings, "")
