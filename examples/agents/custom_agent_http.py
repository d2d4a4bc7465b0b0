"""A custom agent over HTTP, with the standard library alone: register, poll, work, call back.

    KRONFORCE_URL=http://127.0.0.1:8080 KRONFORCE_AGENT_KEY=kf_… python custom_agent_http.py

It runs tasks of type `python` ({"script": …, "args": …}). What it was given it notes in a file
before it begins, and how it ended before it reports that: killed and started again, it reports
what it knows, says of what was cut off that it was, and does nothing twice. The key is one of the
role `agent` (`kronforce key create --role agent NAME`); on the controller's own host none is
needed where it runs with --open-agents.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

URL = os.environ.get("KRONFORCE_URL", "http://127.0.0.1:8080").rstrip("/")
KEY = os.environ.get("KRONFORCE_AGENT_KEY", "")
NAME = os.environ.get("AGENT_NAME", "python-http")
NOTES = Path(os.environ.get("AGENT_NOTES", f"{NAME}.notes"))
WAIT_SECS = 30
RETRY_SECS = 1.0
OUTPUT_MAX = 1_000_000


def call(method: str, url: str, body: Any = None) -> Any:
    """The reply; None where there is none (204)."""
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=WAIT_SECS + 10) as reply:  # noqa: S310
        text = reply.read()
    return json.loads(text) if text else None


def until_done(method: str, url: str, body: Any = None) -> Any:
    """The same, over restarts of the controller; what it refuses for good is an error."""
    while True:
        try:
            return call(method, url, body)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise
        except OSError:
            pass
        time.sleep(RETRY_SECS)


def note(execution_id: str, content: Any) -> None:
    """On the disk before anything follows from it."""
    path = NOTES / f"{execution_id}.json"
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def run(work: Any) -> dict[str, Any]:
    """Do it; what to report."""
    data, began = work["task"]["data"], datetime.now(UTC).isoformat()
    command = [sys.executable, "-c", data["script"], *shlex.split(data.get("args", ""))]
    report: dict[str, Any] = {key: work[key] for key in ("execution_id", "job_id", "agent_id")}
    try:
        limit = work["timeout_secs"] or None
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
        report["status"] = "failed" if done.returncode else "succeeded"
        for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
            report |= {name: text[:OUTPUT_MAX], f"{name}_truncated": len(text) > OUTPUT_MAX}
        report["exit_code"] = done.returncode
    except subprocess.TimeoutExpired:
        report |= {"status": "timed_out", "message": f"after {work['timeout_secs']} s"}
    return report | {"started_at": began, "finished_at": datetime.now(UTC).isoformat()}


def finish(work: Any, report: dict[str, Any]) -> None:
    """Report until it is taken, then forget it."""
    note(work["execution_id"], {"work": work, "report": report})
    try:
        until_done("POST", work["callback_url"], report)
    except urllib.error.HTTPError as error:
        print(f"refused: {error.read().decode()}", flush=True)
    (NOTES / f"{work['execution_id']}.json").unlink()


def main() -> None:
    NOTES.mkdir(exist_ok=True)
    who = {"name": NAME, "agent_type": "custom", "hostname": socket.gethostname()}
    agent_id = until_done("POST", f"{URL}/api/agents/register", who)["agent_id"]
    print(f"{NAME} is {agent_id}", flush=True)
    for path in sorted(NOTES.glob("*.json")):
        left = json.loads(path.read_text())
        cut_off = {"execution_id": left["work"]["execution_id"], "status": "failed",
                   "message": "its agent was killed while it ran"}  # fmt: skip
        finish(left["work"], left.get("report") or cut_off)
    while True:
        work = until_done("GET", f"{URL}/api/agent-queue/{agent_id}/next?wait={WAIT_SECS}")
        if work is not None:
            note(work["execution_id"], {"work": work})
            finish(work, run(work))


if __name__ == "__main__":
    main()
