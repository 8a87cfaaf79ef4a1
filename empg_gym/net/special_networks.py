"""Networks that are not the public internet, written out: what a version of Python's `ipaddress` calls global differs from the next.

Sources:
    - IANA IPv4 Special-Purpose Address Registry, https://www.iana.org/assignments/iana-ipv4-special-registry
    - IANA IPv6 Special-Purpose Address Registry, https://www.iana.org/assignments/iana-ipv6-special-registry
    - multicast: RFC 5771, RFC 4291; deprecated forms: RFC 3879 (site-local), RFC 4291 section 2.5.5.1 (IPv4-compatible)
    - metadata services of clouds: the providers' documentation

Every entry counts, also those that the registries mark as globally reachable (anycast sinks, relays): no web page is there.
"""

from __future__ import annotations

import ipaddress

IPV4_SPECIAL = (
    "0.0.0.0/8",  # this network, RFC 791
    "10.0.0.0/8",  # private use, RFC 1918
    "100.64.0.0/10",  # shared address space, RFC 6598
    "127.0.0.0/8",  # loopback, RFC 1122
    "169.254.0.0/16",  # link-local, RFC 3927
    "172.16.0.0/12",  # private use, RFC 1918
    "192.0.0.0/24",  # IETF protocol assignments, RFC 6890, with all their parts
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.31.196.0/24",  # AS112-v4, RFC 7535
    "192.52.193.0/24",  # AMT, RFC 7450
    "192.88.99.0/24",  # deprecated 6to4 relay anycast, RFC 7526
    "192.168.0.0/16",  # private use, RFC 1918
    "192.175.48.0/24",  # direct delegation AS112, RFC 7534
    "198.18.0.0/15",  # benchmarking, RFC 2544
    "198.51.100.0/24",  # documentation, RFC 5737
    "203.0.113.0/24",  # documentation, RFC 5737
    "224.0.0.0/4",  # multicast, RFC 5771
    "240.0.0.0/4",  # reserved, RFC 1112; contains limited broadcast, RFC 919
)
IPV6_SPECIAL = (
    "::/128",  # unspecified, RFC 4291
    "::1/128",  # loopback, RFC 4291
    "::/96",  # deprecated IPv4-compatible addresses, RFC 4291
    "::ffff:0:0/96",  # IPv4-mapped addresses, RFC 4291
    "64:ff9b::/96",  # IPv4-IPv6 translation, RFC 6052
    "64:ff9b:1::/48",  # IPv4-IPv6 translation for local use, RFC 8215
    "100::/64",  # discard only, RFC 6666
    "100:0:0:1::/64",  # dummy prefix, RFC 9780
    "2001::/23",  # IETF protocol assignments, RFC 2928, with all their parts: Teredo, ORCHID, benchmarking, AMT, AS112-v6
    "2001:db8::/32",  # documentation, RFC 3849
    "2002::/16",  # 6to4, RFC 3056
    "2620:4f:8000::/48",  # direct delegation AS112, RFC 7534
    "3fff::/20",  # documentation, RFC 9637
    "5f00::/16",  # segment routing, RFC 9602
    "fc00::/7",  # unique local, RFC 4193
    "fe80::/10",  # link-local unicast, RFC 4291
    "fec0::/10",  # deprecated site-local, RFC 3879
    "ff00::/8",  # multicast, RFC 4291
)
CLOUD_METADATA = (
    "168.63.129.16/32",  # Azure: WireServer and host services; a public address of Microsoft that each virtual machine reaches
    "169.254.169.254/32",  # AWS, Google Cloud, Azure, Oracle Cloud, DigitalOcean, OpenStack
    "169.254.170.2/32",  # AWS: credentials of ECS tasks
    "169.254.170.23/32",  # AWS: credentials of EKS pods
    "100.100.100.200/32",  # Alibaba Cloud
    "192.0.0.192/32",  # Oracle Cloud, older addresses
    "fd00:ec2::254/128",  # AWS
    "fd00:ec2::23/128",  # AWS: credentials of EKS pods
    "fd20:ce::254/128",  # Google Cloud
)
"""Most are in networks above; they are listed so that each is tested by itself."""

GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 from which public addresses are assigned (IANA IPv6 Global Unicast Address Assignments)."""

_SPECIAL = tuple(map(ipaddress.ip_network, (*IPV4_SPECIAL, *IPV6_SPECIAL, *CLOUD_METADATA)))


def is_public(address: str) -> bool:
    """Return whether `address` is a unicast address of the public internet, outside all networks of this module."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed not in GLOBAL_UNICAST_V6:
        return False
    return not any(parsed in network for network in _SPECIAL)
