"""docs/http.md, pasted line by line into a shell beside a fresh `kronforce up`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest

from tests.system.rig.tour import CHECKOUT, START_LIMIT_SECS, TOUR_LIMIT_SECS, Tour, code_blocks

PAGE = (CHECKOUT / "docs" / "http.md").read_text(encoding="utf-8")

# By what stands in a line: what must be in its output.
EXPECTED: dict[str, Sequence[str]] = {
    "/api/auth/me": ['"name":"http-tour"', '"role":"operator"'],
    "echo hello from HTTP": ['"version":1', '"type":"shell"'],
    '"$AUTH" http://127.0.0.1:8080/api/jobs/http-tour': ['"name":"http-tour"'],
    '"timeout_secs": 60': ['"timeout_secs":60', '"version":2'],
    "of-another-day": ['"reason":"ETAG_MISMATCH"'],
    "/watch?include_output": ["hello from HTTP", '"state":"succeeded"', "event: end"],
    "/explain": ["ucceeded"],
    "/api/executions?run_id": ['"job_name":"http-tour"', '"state":"succeeded"'],
    "search=tour&page_size=2": ['"next_page_token":', '"total":1'],
    "page=1&per_page=5": ['"per_page":5', '"total_pages":'],
    '"type": "shel"': ['"field":"task.type"', "shell", '"reason":"INVALID_FIELD"'],
    "-X DELETE": ['"cancelled_runs":0'],
    "key revoke": ["http-tour"],
}

pytestmark = pytest.mark.timeout(START_LIMIT_SECS + TOUR_LIMIT_SECS)


def test_every_line_of_the_page_does_what_it_says(tour: Tour) -> None:
    (prepared, *pasted) = tour.paste([". .venv/bin/activate", *chain(*code_blocks(PAGE, "sh"))])

    assert prepared.code == 0
    for each in pasted:
        assert each.code == 0, f"{each.line}\n{each.output}"
        for part, words in EXPECTED.items():
            for word in words if part in each.line else ():
                assert word in each.output, f"{each.line}\n{each.output}"
    said = "\n".join(each.line for each in pasted)
    assert [part for part in EXPECTED if part not in said] == []
