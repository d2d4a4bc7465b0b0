import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from kronforce_agent.launcher.protocol import MAX_MASK_SETS
from kronforce_agent.outcome import Outcome, masked
from kronforce_agent.secrets import Secrets, SecretSets


class Told:
    """Stands for a launcher's connection: what it was told."""

    def __init__(self) -> None:
        self.sets: list[tuple[str, tuple[bytes, ...]]] = []

    def set_masks(self, name: str, secrets: tuple[bytes, ...]) -> None:
        self.sets.append((name, secrets))


def one(sets: SecretSets, raw: bytes) -> Secrets:
    secrets = sets.of([raw])
    assert secrets is not None
    return secrets


def test_no_secrets_are_no_set() -> None:
    assert SecretSets().of([]) is None


def test_the_same_secrets_are_the_same_set() -> None:
    sets = SecretSets()

    assert sets.of([b"hunter22", b"other-one"]) is sets.of([b"hunter22", b"other-one"])
    assert sets.of([b"hunter22"]) is not sets.of([b"other-one"])


def test_a_name_says_nothing_of_what_is_in_it() -> None:
    here, there = one(SecretSets(), b"hunter22"), one(SecretSets(), b"hunter22")

    assert here.name != there.name
    assert "hunter22" not in repr(here) + here.name


def test_a_launcher_is_told_each_set_once_and_another_one_again() -> None:
    sets, first, second = SecretSets(), Told(), Told()
    secrets = one(sets, b"hunter22")

    names = [sets.tell(each, secrets) for each in (first, first, second)]  # type: ignore[arg-type]

    assert names == [secrets.name] * 3
    assert first.sets == second.sets == [(secrets.name, (b"hunter22",))]


def test_a_set_that_the_launcher_has_let_go_of_is_told_again() -> None:
    sets, launcher = SecretSets(), Told()
    first = one(sets, b"hunter22")
    sets.tell(launcher, first)  # type: ignore[arg-type]
    for number in range(MAX_MASK_SETS):
        sets.tell(launcher, one(sets, b"secret-%d" % number))  # type: ignore[arg-type]

    sets.tell(launcher, first)  # type: ignore[arg-type]

    assert [name for name, _ in launcher.sets].count(first.name) == 2


def test_message_and_outputs_of_an_outcome_are_masked() -> None:
    outputs = Struct()
    outputs.update({"url": "https://h/?k=hunter22", "list": ["hunter22", 3]})
    outputs.update({"hunter22": {"n": None}})
    outcome = Outcome(state=4, message="no hunter22", outputs=outputs)  # type: ignore[arg-type]

    shown = masked(outcome, one(SecretSets(), b"hunter22"))

    assert shown.message == "no ********"
    assert shown.outputs is not None
    assert json_format.MessageToDict(shown.outputs) == {
        "url": "https://h/?k=********",
        "list": ["********", 3],
        "********": {"n": None},
    }


def test_more_patterns_than_can_be_masked_are_refused() -> None:
    many = [b"%020d" % number for number in range(30_000)]

    with pytest.raises(ValueError, match="more than"):
        SecretSets().of(many)
