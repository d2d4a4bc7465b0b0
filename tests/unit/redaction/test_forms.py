import base64

import pytest

from kronforce_redaction import MAX_PATTERNS, MaskSet, forms_of


@pytest.mark.parametrize("secret", [b"", b"abc", b"\n", b"abc\n", b"\nabc\n\n"])
def test_a_secret_below_four_bytes_has_no_forms(secret: bytes) -> None:
    assert forms_of(secret) == set()


def test_a_derived_form_below_six_bytes_is_left_out() -> None:
    assert forms_of(b"wxyz") == {b"wxyz", b"d3h5eg", b"d3h5eg==", b"d4eXo="}


def test_a_secret_is_looked_for_at_every_alignment_of_base64() -> None:
    forms = forms_of(b"hunter22")

    for before in range(3):
        encoded = base64.b64encode(b"-" * before + b"hunter22" + b"-" * 3)
        assert any(form in encoded for form in forms)


def test_plain_words_have_few_forms_since_most_escape_nothing() -> None:
    assert len(forms_of(b"hunter2hunter2")) <= 12


def test_a_key_of_64_kib_in_short_lines_stays_below_the_limit() -> None:
    secret = b"".join(b"%04x/\n" % number for number in range(10_900))

    assert len(forms_of(secret)) <= MAX_PATTERNS
    assert MaskSet.of_secrets([secret])
