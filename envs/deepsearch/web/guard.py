"""Which addresses an agent may reach: the rules against server-side request forgery.

Rules:
    - http and https only; ports 80 and 443 unless the operator adds others; no user name or password; no control characters,
      blanks or backslashes; no zone ids.
    - A host is a name of plain labels (after IDNA), a dotted quad of four decimal numbers, or an IPv6 literal. Numbers written in any
      other way (one number, octal, hexadecimal, fewer parts) are refused, not interpreted.
    - The name is resolved here, once; if any of its addresses is not global unicast, the whole name is refused. The connection then
      goes to the checked address, whatever the name resolves to a moment later.
    - IPv6 must lie in 2000::/3 and hold no IPv4 address (6to4, Teredo); mapped and translated forms are refused with the rest.
    - The operator may open networks of his own (`Guard.networks`); an agent can't.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import httpx

from empg_gym.envs.deepsearch.web.deny import BENCHMARK_MIRRORS, denied
from empg_gym.retrieval.backends import VisitFailed

_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_CARRIES_V4 = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0/96", "::/96")))
_NOT_UNICAST = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "3fff::/20")))
"""6to4 relays (RFC 7526) and documentation (RFC 9637), which the standard library of Python 3.11 takes for global."""
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_UNCLEAN = re.compile(r"[\x00-\x20\x7f-\x9f\\\s]")
_MAX_URL = 2048
_NOT_PUBLIC = "addresses outside the public internet are not visited"


def system_resolver(host: str, port: int) -> list[str]:
    """Return the addresses of `host` as the system resolves it; empty where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether `address` is one global unicast address of the public internet."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified or parsed.is_loopback or parsed.is_link_local:
        return False
    if any(parsed in network for network in _NOT_UNICAST):
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed in _GLOBAL_V6 and parsed.is_global and not any(parsed in network for network in _CARRIES_V4)
    return parsed.is_global


@dataclass(frozen=True)
class Target:
    """A checked address, ready to be fetched."""

    url: httpx.URL
    ip: str
    """The only address to connect to; IPv4 where there is one, since not every machine has a way out by IPv6."""


@dataclass(frozen=True)
class Guard:
    """Checks addresses; see the module docstring. Raises `VisitFailed` whose text tells an agent why, without naming addresses."""

    ports: frozenset[int] = frozenset({80, 443})
    deny: tuple[str, ...] = BENCHMARK_MIRRORS
    """Sites that are refused (`deny`)."""
    networks: tuple[str, ...] = ()
    """Networks of the operator's own that may be reached although they are not global, as "10.1.2.0/24"."""
    resolver: Callable[[str, int], list[str]] = system_resolver

    def parse(self, url: str) -> httpx.URL:
        """Return `url` parsed if its form and its site are allowed; resolves nothing.

        Raises:
            VisitFailed: they are not.
        """
        if len(url) > _MAX_URL:
            raise VisitFailed("the address is too long")
        if _UNCLEAN.search(url):
            raise VisitFailed("the address has blanks or control characters in it")
        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, ValueError, TypeError):
            raise VisitFailed("this is no address of a page") from None
        if parsed.scheme not in ("http", "https"):
            raise VisitFailed("only http and https addresses can be visited")
        if parsed.userinfo or "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]:
            raise VisitFailed("addresses with a user name are not visited")
        if _port(parsed) not in self.ports:
            raise VisitFailed("this port is not visited")
        _check_host(host)
        literal = host.strip("[]")
        inner = not self._allowed(literal) if _is_ip(literal) else "." not in host.rstrip(".") and not self.networks
        if inner:
            raise VisitFailed(_NOT_PUBLIC)
        if denied(str(parsed), self.deny):
            raise VisitFailed("this site is blocked here")
        return parsed.copy_with(fragment=None)

    def check(self, url: str, seconds: float) -> Target:
        """Parse and resolve `url`.

        Args:
            url: what an agent or a redirect gave.
            seconds: time for the name's resolution.

        Raises:
            VisitFailed: the address is not allowed, or its name has no address.
        """
        parsed = self.parse(url)
        host = parsed.raw_host.decode("ascii").strip("[]")
        addresses = [host] if _is_ip(host) else self._resolve(host, _port(parsed), seconds)
        if not addresses:
            raise VisitFailed("there is no such site")
        if not all(map(self._allowed, addresses)):
            raise VisitFailed(_NOT_PUBLIC)
        return Target(parsed, min(addresses, key=lambda address: ":" in address))

    def _allowed(self, address: str) -> bool:
        if is_public(address):
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in ipaddress.ip_network(network) for network in self.networks)

    def _resolve(self, host: str, port: int, seconds: float) -> list[str]:
        found: SimpleQueue[list[str]] = SimpleQueue()
        # A system resolver can't be interrupted; a thread of its own can be left behind.
        threading.Thread(target=lambda: found.put(self.resolver(host, port)), daemon=True).start()
        try:
            return found.get(timeout=max(seconds, 0.0))
        except Empty:
            raise VisitFailed("the site's name could not be resolved in time") from None


def _port(url: httpx.URL) -> int:
    return url.port if url.port is not None else 443 if url.scheme == "https" else 80


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_host(host: str) -> None:
    if host.startswith("[") or ":" in host:
        literal = host.strip("[]")
        if "%" in literal or not _is_ip(literal):
            raise VisitFailed("this is no address of a page")
        return
    labels = host.removesuffix(".").split(".")
    if not host or len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise VisitFailed("this is no address of a page")
    if (labels[-1].isdigit() or labels[-1].startswith("0x")) and (host.endswith(".") or not _is_ip(host)):
        raise VisitFailed("numeric addresses must be written as four decimal numbers")
