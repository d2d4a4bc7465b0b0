from ipaddress import ip_address

import pytest

from kronforce_egress.addresses import NEVER, NOT_INTERNET, faces
from kronforce_egress.errors import Refused
from kronforce_egress.policy import AGENT, ALLOWED_MAX, CONTROLLER, Policy


def allows(policy: Policy, address: str, host: str = "") -> bool:
    try:
        policy.check(host or address, ip_address(address))
    except Refused:
        return False
    return True


def test_the_controller_reaches_what_it_was_told_to_allow_and_nothing_beside_it() -> None:
    policy = CONTROLLER.allowing(["10.1.0.0/16", "192.168.7.9", "Hooks.Internal.", "fd12::/16"])

    assert allows(policy, "10.1.255.1")
    assert not allows(policy, "10.2.0.1")
    assert allows(policy, "192.168.7.9")
    assert not allows(policy, "192.168.7.8")
    assert allows(policy, "fd12::5")
    assert allows(policy, "127.0.0.1", "hooks.internal")
    assert not allows(policy, "127.0.0.1", "other.internal")
    assert not allows(CONTROLLER, "10.1.255.1")


@pytest.mark.parametrize("entry", ["0.0.0.0/0", "169.254.0.0/16", "meta.internal"])
def test_no_allow_list_opens_the_way_to_metadata(entry: str) -> None:
    policy = CONTROLLER.allowing([entry, "::/0"])

    assert not allows(policy, "169.254.169.254", "meta.internal")
    assert not allows(policy, "::ffff:169.254.169.254", "meta.internal")
    assert not allows(policy, "100.100.100.200", "meta.internal")


def test_a_translators_prefix_that_is_allowed_does_not_allow_what_is_behind_it() -> None:
    policy = CONTROLLER.allowing(["64:ff9b::/96"])

    assert allows(policy, "64:ff9b::808:808")
    assert not allows(policy, "64:ff9b::a00:1")
    assert not allows(policy, "64:ff9b::a9fe:a9fe")


@pytest.mark.parametrize("entry", ["", " ", "10.0.0.1/8", "10.0.0", "fe80::1%eth0", "1.2.3.4/40"])
def test_what_is_neither_a_network_nor_a_name_is_not_allowed_by_mistake(entry: str) -> None:
    with pytest.raises(ValueError, match="network"):
        CONTROLLER.allowing([entry])


def test_an_allow_list_has_an_end() -> None:
    with pytest.raises(ValueError, match="more than"):
        CONTROLLER.allowing([f"h{n}.example" for n in range(ALLOWED_MAX + 1)])


def test_a_refusal_says_what_where_and_why() -> None:
    with pytest.raises(Refused) as refused:
        AGENT.check("meta.example", ip_address("64:ff9b::a9fe:a9fe"))

    assert str(refused.value).startswith(
        "meta.example has 64:ff9b::a9fe:a9fe, which carries 169.254.169.254, which hands out"
    )
    assert refused.value.reason == "egress_refused"


def test_both_ends_of_every_range_are_refused() -> None:
    for each in (*NEVER, *NOT_INTERNET):
        for end in (each.network[0], each.network[-1]):
            assert not allows(CONTROLLER, str(end)), end
    for each in NEVER:
        for end in (each.network[0], each.network[-1]):
            assert not allows(AGENT, str(end)), end


def test_an_address_shows_every_ipv4_address_that_it_carries() -> None:
    found = {str(face) for face in faces(ip_address("2001:0:a00:1:8000:63bf:f7f7:f7f7"))}

    assert found == {"2001:0:a00:1:8000:63bf:f7f7:f7f7", "10.0.0.1", "8.8.8.8"}
