"""What docs/openapi.json says is what a real gateway does, whatever is sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.rig import schema_run
from tests.system.rig.cluster import cluster

LIMIT_SECS = 300

pytestmark = pytest.mark.timeout(LIMIT_SECS)


async def test_no_call_breaks_what_the_document_says(tmp_path: Path) -> None:
    async with cluster(tmp_path, "") as one:
        await one.start_controller(KRONFORCE_BIND="127.0.0.1:0")
        await one.start_agent()

        code, output = await schema_run.run(
            one, "--phases", "examples,coverage,fuzzing", "--max-examples", "5"
        )

        assert code == 0, output
        assert one.complaints() == []
