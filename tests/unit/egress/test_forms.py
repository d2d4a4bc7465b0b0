"""Every form in which an address can be put is connected to, or refused, as promised."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from kronforce_egress.addresses import Address
from kronforce_egress.dialer import Dialer
from kronforce_egress.errors import BadRequest, NameNotResolved, Refused
from kronforce_egress.policy import AGENT, CONTROLLER, Policy
from kronforce_egress.urls import parse_url
from tests.unit.egress.forms import BAD, NAMES, NO, OK, all_forms

FORMS = all_forms()


class Table:
    """A resolver that knows NAMES."""

    async def resolve(self, name: str) -> Sequence[Address]:
        if name not in NAMES:
            raise NameNotResolved(name)
        return [ip_address(each) for each in NAMES[name]]


def judged(policy: Policy, text: str) -> str:
    """What becomes of it, by the very steps that a request takes before a socket is opened."""
    try:
        url = parse_url(text)
        asyncio.run(Dialer(policy, Table())._checked(url.host.name))
    except BadRequest:
        return BAD
    except Refused:
        return NO
    return OK


def test_there_are_enough_forms_and_none_twice() -> None:
    texts = [text for text, _, _ in FORMS]

    assert len(texts) >= 200
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("text", "agent", "controller"), FORMS, ids=lambda value: ascii(value)[:60]
)
def test_a_form_is_connected_to_or_refused_as_promised(
    text: str, agent: str, controller: str
) -> None:
    assert (judged(AGENT, text), judged(CONTROLLER, text)) == (agent, controller)


def test_the_controller_goes_nowhere_that_an_agent_may_not_go() -> None:
    assert [text for text, agent, controller in FORMS if agent != OK and controller == OK] == []
