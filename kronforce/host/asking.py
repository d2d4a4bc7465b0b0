"""What a running controller is asked for its examination; whoever may call it does the asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kronforce.v1 import agent_pb2


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a controller said, `agents` being its first thousand or so."""

    version: str
    agents: Sequence[agent_pb2.Agent]


class NoAnswer(Exception):
    """Why there is none; `deaf`: it was called and said nothing, else it wants another key."""

    def __init__(self, why: str, *, deaf: bool) -> None:
        super().__init__(why)
        self.deaf = deaf
