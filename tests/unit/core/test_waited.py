"""What an execution waited for can be read from the message of its end, and from no other."""

import pytest

from kronforce.core.lifecycle import Reason
from kronforce.core.waited import over_waiting, waited_for, why_it_waited


@pytest.mark.parametrize(
    ("waited", "known"),
    [
        (Reason.CONCURRENCY, Reason.CONCURRENCY),
        (Reason.OFFLINE, Reason.OFFLINE),
        (Reason.SLOT, Reason.SLOT),
        # Others went first on the same agents: a slot would have helped.
        (Reason.QUEUE, Reason.SLOT),
    ],
)
def test_what_was_waited_for_is_known_from_the_message(waited: Reason, known: Reason) -> None:
    message = over_waiting(waited)
    assert why_it_waited(message) == known
    assert message == f"waited longer than queue_timeout_secs {waited_for(message)}"


@pytest.mark.parametrize("said", ["", "waited longer than queue_timeout_secs", "for a bus"])
def test_of_other_messages_nothing_is_known(said: str) -> None:
    assert (waited_for(said), why_it_waited(said)) == ("", "")
