"""Fire a job and show what becomes of it.   python examples/python/trigger_and_watch.py count"""

import sys

from kronforce.v1.execution_pb2 import ExecutionState
from kronforce_client import Client, NotFound

job = sys.argv[1] if len(sys.argv) > 1 else "count"

with Client() as kf:  # address and key from the environment, the context or this host
    try:
        run = kf.jobs.run(job)
    except NotFound as error:
        sys.exit(str(error))
    with run, run.updates() as updates:
        for update in updates:
            if update.HasField("output"):
                print(update.output.chunk.data.decode(errors="replace"), end="", flush=True)
            elif update.HasField("state"):
                print(f"-- {ExecutionState.Name(update.state.state)}", flush=True)
    ended = kf.runs.get(run.id)
    print(f"-- run {ended.id}: {len(ended.executions)} attempt(s)")
