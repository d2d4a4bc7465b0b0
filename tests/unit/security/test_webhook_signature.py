"""Signatures of deliveries: what fits, what does not, and what a recording is good for."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kronforce.security.webhook_signature import (
    WINDOW_SECS,
    WrongSignature,
    check_signature,
    signed_content,
)

SECRET = b"kfs_secret"
NOW = 1_800_000_000
BODY = b'{"params": {"day": "2026-11-21"}}'


def digest(content, secret=SECRET):
    return hmac.new(secret, content, hashlib.sha256).hexdigest()


def ours(body=BODY, *, delivery_id="", at=NOW, secret=SECRET):
    return f"t={at},v1={digest(signed_content(str(at), delivery_id, body), secret)}"


def github(body=BODY, secret=SECRET):
    return f"sha256={digest(body, secret)}"


def check(signature, body=BODY, *, delivery_id=""):
    return check_signature(SECRET, signature, body=body, delivery_id=delivery_id, now_secs=NOW)


def test_both_forms_are_taken():
    assert check(github()) == ""
    assert check(ours()).startswith("v1:")


def test_the_signature_that_github_documents_is_right():
    secret, body = b"It's a Secret to Everybody", b"Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert check_signature(secret, signature, body=body, delivery_id="", now_secs=NOW) == ""


@pytest.mark.parametrize("off", [-WINDOW_SECS, 0, WINDOW_SECS])
def test_a_clock_may_be_off_by_the_window(off):
    assert check(ours(at=NOW + off))


@pytest.mark.parametrize("off", [-WINDOW_SECS - 1, WINDOW_SECS + 1, -NOW])
def test_a_recording_is_refused_after_the_window(off):
    with pytest.raises(WrongSignature, match="of another time"):
        check(ours(at=NOW + off))


def test_another_instant_delivery_id_or_body_does_not_fit():
    signature = ours(delivery_id="d1")
    for changed in (
        {"delivery_id": "d2"},
        {"delivery_id": ""},
        {"delivery_id": "d1", "body": BODY + b" "},
    ):
        with pytest.raises(WrongSignature, match="does not fit"):
            check(signature, **changed)
    with pytest.raises(WrongSignature, match="does not fit"):
        check(signature.replace(f"t={NOW}", f"t={NOW + 1}"), delivery_id="d1")


def test_a_delivery_id_cannot_be_moved_into_the_body():
    """The parts are divided by what no header can hold."""
    with pytest.raises(WrongSignature):
        check(ours(b"y\nz", delivery_id="x"), b"z", delivery_id="x\ny".replace("\n", " "))
    assert signed_content("1", "2", b"3") != signed_content("1", "", b"2\n3")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha1=" + "0" * 40,
        "sha256=" + "0" * 63,
        "sha256=" + "G" * 64,
        "SHA256=" + "0" * 64,
        f"v1={'0' * 64}",
        f"t=,v1={'0' * 64}",
        f"t=-1,v1={'0' * 64}",
        f"t={'9' * 5_000},v1={'0' * 64}",
        f"t=１,v1={'0' * 64}",
        f"t={NOW},v0={'0' * 64}",
        f"t={NOW},v1={'0' * 64},v1={'1' * 64}",
        f"sha256={'0' * 64}\n",
    ],
)
def test_what_is_no_signature_is_told_the_forms(signature):
    with pytest.raises(WrongSignature, match="wants a signature"):
        check(signature)


@pytest.mark.parametrize("delivery_id", ["", "d1"])
def test_a_recording_of_our_form_is_no_signature_of_the_other(delivery_id):
    content = signed_content(str(NOW), delivery_id, BODY)
    with pytest.raises(WrongSignature):
        check(f"sha256={digest(content)}", content)


def test_another_secret_does_not_fit():
    for signature in (ours(secret=b"other"), github(secret=b"other")):
        with pytest.raises(WrongSignature, match="does not fit"):
            check(signature)


def test_no_refusal_says_what_would_have_been_right():
    right = digest(BODY)
    with pytest.raises(WrongSignature) as wrong:
        check(github(secret=b"other"))
    assert right not in str(wrong.value)
    assert SECRET.decode() not in str(wrong.value)


@given(st.text(max_size=200))
def test_nothing_but_a_signature_passes(text):
    with pytest.raises(WrongSignature):
        check(text)
