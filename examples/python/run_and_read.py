"""Make a job, run it, read its output as it comes.   python examples/python/run_and_read.py"""

import sys

from kronforce_client import Client, NotFound, RunFailed

JOB = {
    "name": "example-count",
    "task": {"type": "shell", "command": "for n in 1 2 3; do echo $n; sleep 0.2; done"},
}

with Client() as kf:  # address and key from the environment, the context or this host
    kf.jobs.apply([JOB])
    run = kf.jobs.run("example-count")
    for chunk in run.output():
        sys.stdout.buffer.write(chunk.data)
    try:
        ended = run.result()
        print(f"run {ended.id} succeeded")
    except RunFailed as failed:
        print(failed, file=sys.stderr)

    try:
        kf.jobs.get("no-such-job")
    except NotFound as error:
        print(f"as expected: {error}")
    kf.jobs.delete("example-count")
