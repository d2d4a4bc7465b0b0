"""`{{NAME}}` and `{{params.NAME}}` in a task: found when a job is saved, filled per attempt.

`compile_task` looks at a task once; `TaskTemplate.fill` puts values in, once: what a value brings
is never looked at again. A shell command gets references to environment variables, never the
values themselves. Nothing here knows where values come from, nor which are secret.
"""

from kronforce.core.templates.placeholder import TextTemplate, find_placeholders
from kronforce.core.templates.task import Filled, TaskTemplate, compile_task, template_problems

__all__ = [
    "Filled",
    "TaskTemplate",
    "TextTemplate",
    "compile_task",
    "find_placeholders",
    "template_problems",
]
