"""Fire a job over HTTP and follow its output, through cuts, with the standard library alone.

KRONFORCE_KEY=kf_… python examples/python/follow_over_http.py count [http://127.0.0.1:8080]
"""

import json
import os
import sys
import time
from http.client import HTTPException
from urllib.parse import quote
from urllib.request import Request, urlopen

job = sys.argv[1] if len(sys.argv) > 1 else "count"
url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"
headers = {"Authorization": f"Bearer {os.environ['KRONFORCE_KEY']}"}


def events(path):
    """Every event of a stream, once: after a cut it goes on behind the last one."""
    last_id = ""
    while True:
        why = "it ended early"
        try:
            asked = {**headers, "Last-Event-ID": last_id} if last_id else headers
            with urlopen(Request(url + path, headers=asked), timeout=40) as answer:  # noqa: S310
                event = {}
                for raw in answer:
                    name, _, value = raw.decode().rstrip("\n").partition(": ")
                    if name:
                        event[name] = value
                    elif event:
                        last_id = event.get("id", last_id)
                        if event.get("event") == "end":
                            return
                        if "data" in event:
                            yield event["event"], json.loads(event["data"])
                        event = {}
        except (ConnectionError, TimeoutError, HTTPException) as cut:
            why = cut
        print(f"-- connection lost ({why}), trying again", file=sys.stderr)
        time.sleep(1)


trigger = Request(f"{url}/api/jobs/{quote(job, safe='')}/trigger", b"{}", headers)  # noqa: S310
trigger.add_header("Content-Type", "application/json")
with urlopen(trigger, timeout=40) as answer:  # noqa: S310 - the address is yours
    run = json.load(answer)["run"]["id"]
for name, data in events(f"/api/runs/{run}/watch?include_output=true"):
    if name == "output":
        print(data["output"]["chunk"].get("text", ""), end="", flush=True)
    elif name == "state":
        print(f"-- {data['state']['state']}", flush=True)
