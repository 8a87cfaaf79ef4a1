"""Every evasion that the specification names, each a separate case; nothing here touches a network."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.net.guard import AddressError, Guard
from empg_gym.net.special_networks import is_public

PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.0.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "0.0.0.0", "0.1.2.3", "224.0.0.1", "224.0.1.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "192.88.99.255"),
    *("::1", "::", "fc00::1", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1", "4000::1"),
    *("3fff::1", "3fff:fff:ffff::1"),
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"]


def guard(*addresses):
    return Guard(resolver=lambda host, port: list(addresses))


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_outside_the_public_internet(address):
    assert not is_public(address)
    with pytest.raises(AddressError, match="public internet"):
        guard(address).check("http://site.example/", 1)
    with pytest.raises(AddressError, match="public internet"):
        Guard().check(f"http://{f'[{address}]' if ':' in address else address}/", 1)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address):
    assert is_public(address)
    assert guard(address).check("https://site.example/a?b=c#d", 1).ip == address
    assert Guard().check(f"http://{f'[{address}]' if ':' in address else address}/", 1).ip == address


@pytest.mark.parametrize("private", PRIVATE[:12:3] + PRIVATE[-12::4])
def test_one_private_address_among_public_ones_refuses_the_name(private):
    for addresses in (["8.8.8.8", private], [private, "8.8.8.8"]):
        with pytest.raises(AddressError, match="public internet"):
            guard(*addresses).check("http://site.example/", 1)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "0X7F.1",
            "127.1",
            "127.0.1",
            "017700000001",
            "127.0.0.1.",
            "1.2.3",
            "1.2.3.4.5",
        ),
        *(
            "134744072",
            "8.8.2056",
            "010.8.8.8",
            "8.8.8.0x8",
            "①②⑦.⓪.⓪.①",
            "１２７.0.0.1",
            "127。0。0。1",
            "127%2e0.0.1",
            "[::1%25eth0]",
            "[fe80::1%eth0]",
        ),
        *(
            "localhost",
            "localhost.",
            "LOCALHOST",
            "metadata",
            "[::]",
            "[::ffff:7f00:1]",
            "a..b.example",
            "-a.example",
            "a_b!.example",
            "",
            "x" * 300,
        ),
        *("[8.8.8.8]", "[::1", "::1", "%00.example", "ex ample.org", "ex\tample.org", "a\\b.example"),
    ],
)
def test_hosts_in_other_notations(host):
    """Refused before any name is resolved: the resolver, which would return a public address, is not called."""
    asked = []
    watched = Guard(resolver=lambda name, port: asked.append(name) or ["8.8.8.8"])
    with pytest.raises(AddressError):
        watched.check(f"http://{host}/", 1)
    assert asked == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://site.example/",
            "file:///etc/passwd",
            "gopher://site.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//site.example/",
            "site.example",
        ),
        *("http://user@site.example/", "http://user:secret@site.example/", "http://@site.example/", "http://site.example@127.0.0.1/"),
        *(
            "http://site.example:22/",
            "http://site.example:8080/",
            "https://site.example:80443/",
            "http://site.example:-1/",
            "http://site.example:0/",
        ),
        *(
            "http://site.example/\r\nHost: x",
            "http://site.example/ x",
            "http://site.example\\@127.0.0.1/",
            " http://site.example/",
            "http://",
        ),
        *("http://site.example/" + "a" * 3000, "", "http:///path", "http://site.example:http/", "http://[site.example]/"),
    ],
)
def test_schemes_ports_users_and_malformed_addresses(url):
    with pytest.raises(AddressError):
        guard("8.8.8.8").check(url, 1)


def test_plain_addresses_are_allowed():
    for url in (
        "http://site.example",
        "https://Site.Example:443/a/../b",
        "http://site.example:80/?q=ü",
        "https://bücher.example/",
        "http://site.example./",
    ):
        assert guard("8.8.8.8").check(url, 1).ip == "8.8.8.8"


def test_names_without_an_address_and_slow_names():
    with pytest.raises(AddressError, match="no such site"):
        guard().check("http://site.example/", 1)
    with pytest.raises(AddressError, match="in time"):
        Guard(resolver=lambda host, port: time.sleep(5) or []).check("http://site.example/", 0.1)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(st.sampled_from("htp:/@[].%0x17a2f\\?#。①"), max_size=40).map(lambda tail: "http://" + tail))
def test_any_text_is_refused_or_pinned_to_a_public_address(url):
    try:
        assert is_public(guard("8.8.8.8").check(url, 1).ip)
    except AddressError as refusal:
        assert str(refusal)
