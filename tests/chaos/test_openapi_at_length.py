"""docs/openapi.json against a real gateway, at length: chance, and calls that follow calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.rig import schema_run
from tests.system.rig.cluster import cluster

LIMIT_SECS = 1_800

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(LIMIT_SECS)]


@pytest.mark.parametrize(
    "options",
    [
        ("--phases", "fuzzing", "--max-examples", "100"),
        ("--phases", "stateful", "--max-examples", "50"),
    ],
    ids=lambda options: str(options[1]),
)
async def test_no_call_breaks_what_the_document_says(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    async with cluster(tmp_path, "") as one:
        await one.start_controller(KRONFORCE_BIND="127.0.0.1:0")
        await one.start_agent()

        code, output = await schema_run.run(one, *options)

        assert code == 0, output
        assert one.complaints() == []
