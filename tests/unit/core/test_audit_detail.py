"""What an audit entry shows: canonical, masked by name, bounded."""

import json

from kronforce.core.audit_detail import DETAILS_MAX, MASK, STATE_MAX, audit_detail, redacted


def test_nothing_to_say_is_nothing():
    assert audit_detail(None, None, None) == b""


def test_the_same_state_is_the_same_bytes():
    one = audit_detail({"b": 1, "a": [1.0, "ü"]}, None, None)
    assert one == audit_detail({"a": [1, "ü"], "b": 1}, None, None)
    assert one == '{"before":{"a":[1,"ü"],"b":1}}'.encode()


def test_texts_under_a_telling_name_are_masked_however_deep():
    shown = redacted(
        {
            "env": {"DB_PASSWORD": "x", "Api-Key": "x", "PATH": "/bin"},
            "headers": {"Authorization": "Bearer x", "Accept": "*/*"},
            "client_key": "-----BEGIN",
            "secret": True,
            "tokens": ["x", {"y": "z"}],
            "empty_secret": "",
        }
    )
    assert shown == {
        "env": {"DB_PASSWORD": MASK, "Api-Key": MASK, "PATH": "/bin"},
        "headers": {"Authorization": MASK, "Accept": "*/*"},
        "client_key": MASK,
        "secret": True,
        "tokens": [MASK, {"y": MASK}],
        "empty_secret": "",
    }


def test_a_text_that_only_names_variables_says_nothing_and_stays():
    assert redacted({"token": "{{API_TOKEN}}"}) == {"token": "{{API_TOKEN}}"}
    assert redacted({"token": "Bearer {{API_TOKEN}}"}) == {"token": MASK}


def test_a_long_text_is_cut_and_says_what_it_was():
    shown = redacted({"command": "x" * 5_000})["command"]
    assert len(shown) < 2_200
    assert "3,000 more characters; SHA-256 of all: " in shown
    assert shown != redacted({"command": "x" * 4_999 + "y"})["command"]


def test_an_entry_is_bounded_whatever_it_is_given():
    huge = {f"field {n}": "x" * 1_900 for n in range(100)}
    detail = json.loads(audit_detail(huge, {"small": 1}, huge))
    assert detail["after"] == {"small": 1}
    assert detail["before"]["truncated"]
    assert detail["before"]["bytes"] > STATE_MAX
    assert detail["details"]["bytes"] > DETAILS_MAX
