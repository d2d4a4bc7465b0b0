"""From where a key may be used: the socket's other end, in every form that its address has."""

import ipaddress

import pytest

from kronforce.api.grpc_edge import peer_address
from kronforce.api.identity import _inside

OFFICE = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))
HERE = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("peer", "networks", "inside"),
    [
        ("ipv4:10.1.2.3:40000", OFFICE, True),
        ("ipv4:11.1.2.3:40000", OFFICE, False),
        ("ipv6:[2001:db8::7]:40000", OFFICE, True),
        ("ipv6:%5B2001:db8::7%5D:40000", OFFICE, True),
        ("ipv6:[2001:db9::7]:40000", OFFICE, False),
        # What a socket for both families makes of an IPv4 caller.
        ("ipv6:[::ffff:10.1.2.3]:40000", OFFICE, True),
        ("ipv6:%5B::ffff:11.1.2.3%5D:40000", OFFICE, False),
        ("ipv6:[fe80::1%25eth0]:40000", (ipaddress.ip_network("fe80::/10"),), True),
        ("unix:/run/kronforce.sock", OFFICE, False),
        ("unix:/run/kronforce.sock", HERE, True),
        ("ipv4:127.0.0.1:40000", HERE, True),
        ("nonsense", OFFICE, False),
    ],
)
def test_a_key_is_good_inside_of_its_networks_alone(peer, networks, inside):
    assert _inside(peer_address(peer), networks) is inside
