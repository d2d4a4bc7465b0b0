"""docs/webhooks.md pasted line by line beside a real server; and what its log says of it all."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.system.rig.tour import CHECKOUT, START_LIMIT_SECS, TOUR_LIMIT_SECS, Tour, code_blocks

PAGE = (CHECKOUT / "docs" / "webhooks.md").read_text(encoding="utf-8")
BEFORE = [". .venv/bin/activate", "kronforce job apply -f examples/webhooks.yaml"]

pytestmark = pytest.mark.timeout(START_LIMIT_SECS + TOUR_LIMIT_SECS)


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    # Everything that can be in a log is to be looked through.
    made = Tour(tmp_path, log_level="debug")
    yield made
    made.stop()


def section(title: str) -> list[str]:
    """The lines to paste of a part of the page; what stands before the first title is ``."""
    parts = dict(
        part.split("\n", 1) if number else ("", part)
        for number, part in enumerate(PAGE.split("\n## "))
    )
    return list(chain(*code_blocks(parts[title], "sh")))


def test_the_page_does_what_it_says_and_no_token_is_in_the_log(tour: Tour) -> None:
    lines = [
        *BEFORE,
        *section(""),
        *section("Signed deliveries"),
        'echo "$URL" "$SECRET"',
        "kronforce webhook disable build --yes",
        *section("GitHub"),
        'echo "$URL" "$SECRET"',
        *section("GitLab"),
        "cat build.url",
        "kronforce run list -o jsonl",
        "kronforce audit list -o jsonl",
    ]

    pasted = tour.paste(lines)

    for each in pasted:
        assert each.code == 0, f"{each.line}\n{each.output}"
    fired = [json.loads(p.output) for p in pasted if p.line.startswith("curl")]
    assert len(fired) == 4
    assert all(each["run_id"] and not each["replayed"] for each in fired), fired
    runs = [json.loads(line) for line in pasted[-2].output.splitlines() if line.startswith("{")]
    by_id = {run["id"]: run for run in runs}
    assert [by_id[each["run_id"]]["params"] for each in fired] == [
        {"ref": "main"},
        {"ref": "v1.4.2"},
        {"ref": "refs/heads/main", "after": "6113728f27ae82c7b1a177c8d03f9e96e0adf246"},
        {"ref": "refs/heads/main"},
    ]
    assert {by_id[each["run_id"]]["trigger"] for each in fired} == {"webhook"}

    shown = "\n".join(
        each.output for each in pasted if "build.url" in each.line or "echo" in each.line
    )
    secrets = list(dict.fromkeys(re.findall(r"kf[ws]_[A-Za-z0-9_-]{40,}", shown)))
    assert len(secrets) == 5
    # One that is disabled by now, and GitHub's; GitLab's takes any JSON as the event.
    for token in [each for each in secrets if each.startswith("kfw_")][:2]:
        _knock(tour, token)
    tour.stop()
    kept = tour.log.read_bytes() + pasted[-1].output.encode()
    for path in (tour.folder / "data").rglob("*"):
        kept += path.read_bytes() if path.is_file() else b""
    assert [each for each in secrets if each.encode() in kept] == []
    assert b"FireWebhook" in kept


def _knock(tour: Tour, token: str) -> None:
    """Every way to be refused that a log may have something to say of."""
    http = json.loads((tour.folder / "data" / "endpoint.json").read_text())["http"]
    for verb, path, body in [
        ("GET", f"/api/webhooks/{token}", b""),
        ("POST", f"/api/webhooks/{token}/more", b""),
        ("POST", f"/api/webhooks/{token}?force=true", b"{}"),
        ("POST", f"/api/webhooks/{token}x", b"{}"),
        ("POST", f"/api/webhooks/{token}", b'{"force": true}'),
        ("POST", f"/api/webhooks/{token}", b"{"),
        ("POST", f"/api/webhooks/{token}", b"x" * ((1 << 20) + 1)),
        ("POST", f"//api/webhooks/{token}", b""),
        ("POST", f"/API/Webhooks/{token}", b""),
    ]:
        request = urllib.request.Request(http + path, data=body or None, method=verb)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert 400 <= refused.value.code < 500, (verb, path)
        assert token not in refused.value.read().decode()
        refused.value.close()
