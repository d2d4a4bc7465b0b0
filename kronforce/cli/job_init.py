"""`job init`: a commented file to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce.cli.job_schema import SCHEMA, text
from kronforce.cli.session import current

# Read by the language server of VS Code, Neovim, Helix and others; the path is from the file.
FOR_EDITORS = f"# yaml-language-server: $schema={SCHEMA.name}\n"
TEMPLATE = """\
# A job: what to run, when, where.   kronforce job apply -f {file}
# Check it without a server:         kronforce job validate {file}
name: {name}
{task}
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

SHELL = """\
description: Says hello.

task:
  type: shell                # what it does: a command for `sh -c`
  command: echo "hello from $(hostname)"
  # env: {GREETING: hello}   # variables on top of the agent's few
"""
HTTP = """\
description: Asks whether the service is there.

task:
  type: http                 # what it does: a request from the agent; the body is its output
  url: https://example.com/
  # method: post             # default get
  # headers: {Authorization: "Bearer {{TOKEN}}"}
  # body: '{"hello": "world"}'
  # expect_status: 200       # default any of 200-299
"""
TASKS = {"shell": SHELL, "http": HTTP}


def init(
    file: str = "hello.yaml",
    /,
    *,
    type_: Annotated[Literal["shell", "http"], Parameter(name="--type")] = "shell",
    force: Annotated[bool, Parameter(negative=())] = False,
    schema: bool = True,
) -> None:
    """Write a commented job file; the job is called like it.

    The JSON Schema is put beside it, for editors that complete and check.

    Parameters
    ----------
    file
        Where to.
    type_
        What kind of task it begins with.
    force
        Overwrite a file that is there.
    schema
        Write the schema (one that is there is left as it is) and the line that names it.
    """
    path = Path(file)
    if path.exists() and not force:
        raise CommandError(
            f"{file} is there already", "another name, or --force", code=Exit.CONFLICT
        )
    # Quoted, so that any file name is a name in YAML.
    name = path.stem if path.stem.isidentifier() else json.dumps(path.stem)
    content = TEMPLATE.format(file=file, name=name, task=TASKS[type_])
    _write(path, (FOR_EDITORS if schema else "") + content)
    print(f"wrote {file}")
    if schema and not (beside := path.with_name(SCHEMA.name)).exists():
        _write(beside, text())
        current().say(f"wrote {beside}, for editors that complete and check job files")
    current().say(f"next: kronforce job apply -f {file}")


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
