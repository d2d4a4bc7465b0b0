import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "kronforce/core").rglob("*.py")
)


def test_core_brings_in_no_loop_no_network_and_no_database() -> None:
    code = (
        "import importlib, json, sys\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60
    )

    loaded = set(json.loads(done.stdout))
    assert not loaded & {"asyncio", "grpc", "sqlalchemy", "sqlite3", "croniter", "socket"}
