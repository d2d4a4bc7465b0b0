"""`job init`: a commented file to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.session import current

TEMPLATE = """\
# A job: what to run, when, where.   kronforce job apply -f {file}
# Check it without a server:         kronforce job validate {file}
name: {name}
description: Says hello.

task:
  type: shell                # what it does: a command for `sh -c`
  command: echo "hello from $(hostname)"
  # env: {{GREETING: hello}}   # variables on top of the agent's few

schedule:
  type: cron                 # or: on_demand, interval, one_shot
  value: "*/10 * * * * *"    # six fields, seconds first: every 10 seconds
# timezone: Europe/Berlin    # default UTC

# target: {{type: any}}        # default local: the agent beside the controller

timeout_secs: 30             # then TERM, 10 s grace, KILL
# retry_max: 2               # attempts after the first
# retry_delay_secs: 5
# max_concurrent: 1          # open runs at a time; default unlimited
"""


def init(
    file: str = "hello.yaml",
    /,
    *,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a commented job file; the job is called like it.

    Parameters
    ----------
    file
        Where to.
    force
        Overwrite a file that is there.
    """
    path = Path(file)
    if path.exists() and not force:
        raise CommandError(
            f"{file} is there already", "another name, or --force", code=Exit.CONFLICT
        )
    # Quoted, so that any file name is a name in YAML.
    name = path.stem if path.stem.isidentifier() else json.dumps(path.stem)
    path.write_text(TEMPLATE.format(file=file, name=name), encoding="utf-8")
    print(f"wrote {file}")
    current().say(f"next: kronforce job apply -f {file}")
