"""Every entry of the lists: its first and last address and one in between are refused, in all spellings that a name may resolve to."""

from __future__ import annotations

import ipaddress

import pytest

from empg_gym.net.guard import AddressError, Guard
from empg_gym.net.special_networks import CLOUD_METADATA, IPV4_SPECIAL, IPV6_SPECIAL, is_public

EVERY = tuple(dict.fromkeys((*IPV4_SPECIAL, *IPV6_SPECIAL, *CLOUD_METADATA)))
# Python's own lists are an independent copy of the registries; private names, since the public properties differ between versions.
STANDARD_LIBRARY = [
    *ipaddress._IPv4Constants._private_networks,
    *ipaddress._IPv6Constants._private_networks,
    *ipaddress._IPv6Constants._reserved_networks,
]
FORMERLY_PUBLIC = (
    # What passed on a supported version of Python: the parts of 192.0.0.0/24 that it counts as global, and a cloud's public address.
    *("192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.192", "192.0.0.255", "168.63.129.16"),
    *("192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1", "2001:1::1", "2001:3::1", "2001:4:112::1", "2001:20::1"),
)


def sample(network):
    """Return the first, the middle and the last address of a network."""
    parsed = ipaddress.ip_network(network)
    return {str(parsed[0]), str(parsed[parsed.num_addresses // 2]), str(parsed[-1])}


def refused(address):
    literal = f"[{address}]" if ":" in address else address
    for guard, url in ((Guard(resolver=lambda host, port: [address]), "http://site.example/"), (Guard(), f"http://{literal}/")):
        with pytest.raises(AddressError, match="public internet"):
            guard.check(url, 1)
    assert not is_public(address)
    return True


@pytest.mark.parametrize("network", EVERY)
def test_every_entry_is_refused(network):
    assert all(map(refused, sample(network)))


@pytest.mark.parametrize("network", list(map(str, STANDARD_LIBRARY)))
def test_no_network_of_the_standard_library_is_missing(network):
    assert all(map(refused, sample(network)))


@pytest.mark.parametrize("address", FORMERLY_PUBLIC)
def test_addresses_that_a_version_of_python_counts_as_global(address):
    assert refused(address)


@pytest.mark.parametrize("network", [entry for entry in EVERY if ":" not in entry])
def test_ipv4_in_every_form_of_ipv6_is_refused(network):
    for address in sample(network):
        packed = int(ipaddress.IPv4Address(address))
        forms = (packed, 0xFFFF << 32 | packed, 0x64FF9B << 96 | packed, 0x2002 << 112 | packed << 80, 0x20010000 << 96 | packed)
        assert all(refused(str(ipaddress.IPv6Address(form))) for form in forms)


@pytest.mark.parametrize(
    "address",
    [
        *("1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15"),
        *(
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
        ),
        *("192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
        *("2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2620:4f:7fff::1", "2620:4f:8001::1", "2a00::1", "3ffe::1"),
    ],
)
def test_neighbours_are_reached(address):
    assert is_public(address)
    assert Guard(resolver=lambda host, port: [address]).check("http://site.example/", 1).ip == address


@pytest.mark.parametrize("address", ["", "8.8.8", "8.8.8.8.8", "008.8.8.8", "2606:4700::/32", "site.example", "1e100", "-1"])
def test_what_is_not_an_address_is_not_public(address):
    assert not is_public(address)
