"""What an agent may be called, by itself or by an admin: names, words, groups, facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kronforce.core.names import (
    LABELS_MAX,
    TAGS_MAX,
    agent_name_problem,
    group_name_problem,
    label_key_problem,
    label_value_problem,
    tag_problem,
)
from kronforce.v1.agent_pb2 import AgentFacts, AgentType
from kronforce.v1.agent_service_pb2 import RegisterAgentRequest

Problem = tuple[str, str]

SLOTS_MAX = 10_000
# Groups that one list may name: far more than anybody keeps apart, small enough for one row.
GROUPS_MAX = 1_000
# Facts are shown, never acted on: bounded only so that a row stays small.
FACT_MAX = 255


def registration_problems(request: RegisterAgentRequest) -> list[Problem]:
    """Everything that is wrong with an enrolment, by field."""
    return [*_name(request), *word_problems(request.tags, request.labels), *_host(request)]


def word_problems(tags: Iterable[str], labels: Mapping[str, str]) -> list[Problem]:
    """What is wrong with tags and labels, of an agent or of a token that gives them."""
    return [*_tags(list(tags)), *_labels(labels)]


def group_problems(names: Sequence[str]) -> list[Problem]:
    """What is wrong with a list of groups that may use a thing; they need not exist."""
    if len(names) > GROUPS_MAX:
        return [("allowed_groups", f"has {len(names)} groups; at most {GROUPS_MAX:,}")]
    return [
        (f"allowed_groups[{place}]", problem)
        for place, name in enumerate(names)
        if (problem := group_name_problem(name))
    ]


def _name(request: RegisterAgentRequest) -> Iterator[Problem]:
    if problem := agent_name_problem(request.name):
        yield "name", problem
    if request.agent_type not in AgentType.DESCRIPTOR.values_by_number:
        yield "agent_type", f"{request.agent_type} is not known; use standard or custom"
    if not 0 <= request.slots <= SLOTS_MAX:
        yield "slots", f"is {request.slots}; from 1 to {SLOTS_MAX:,}"


def _tags(tags: list[str]) -> Iterator[Problem]:
    if len(tags) > TAGS_MAX:
        yield "tags", f"has {len(tags)} tags; at most {TAGS_MAX}"
    for place, tag in enumerate(tags):
        if problem := tag_problem(tag):
            yield f"tags[{place}]", problem


def _labels(labels: Mapping[str, str]) -> Iterator[Problem]:
    if len(labels) > LABELS_MAX:
        yield "labels", f"has {len(labels)} labels; at most {LABELS_MAX}"
    for key, value in sorted(labels.items()):
        if problem := label_key_problem(key) or label_value_problem(value):
            yield f"labels.{key}", problem


def _host(request: RegisterAgentRequest) -> Iterator[Problem]:
    if len(request.hostname) > FACT_MAX:
        yield "hostname", f"is {len(request.hostname)} characters long; at most {FACT_MAX}"
    yield from fact_problems(request.facts)


def fact_problems(facts: AgentFacts) -> Iterator[Problem]:
    """What is wrong with what an agent says of its host."""
    for name in ("hostname", "os", "arch", "version"):
        if len(getattr(facts, name)) > FACT_MAX:
            yield f"facts.{name}", f"is too long; at most {FACT_MAX} characters"
