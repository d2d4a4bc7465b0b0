"""Every target by its name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import agents, archives, callers, definitions, files, schedules, texts

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (files, texts, schedules, definitions, archives, agents, callers)
    for target in module.TARGETS
}
