"""Which addresses an agent may reach: the rules against server-side request forgery.

Rules:
    - http and https only; ports 80 and 443 unless the operator adds others; no user name or password; no control characters,
      white space or backslashes; no zone ids.
    - A host is a name of plain labels (after IDNA), a dotted quad of four decimal numbers, or an IPv6 literal. Numbers written in any
      other way (one number, octal, hexadecimal, fewer parts) are refused, not interpreted.
    - A name is resolved here, once; if any of its addresses is not public (`empg_gym.net.special_networks`), the name is refused. The
      connection then goes to the checked address, even if the name resolves to another one a moment later.
    - IPv6 addresses that embed an IPv4 address (mapped, translated, 6to4, Teredo) are refused.
    - The operator may open private networks (`Guard.networks`); an agent can't.
    - The texts of refusals are shown to agents: they are part of the observations of Deep Search.
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

from empg_gym.errors import EMPGGymError
from empg_gym.net.special_networks import is_public

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_UNCLEAN = re.compile(r"[\x00-\x20\x7f-\x9f\\\s]")
_MAX_URL = 2048
_NOT_PUBLIC = "addresses outside the public internet are not visited"


class AddressError(EMPGGymError):
    """The address is refused or can't be resolved; the text says why, without naming an address."""


def system_resolver(host: str, port: int) -> list[str]:
    """Return the addresses of `host` as the system resolves it; empty if there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True)
class Target:
    """A checked address, ready to be fetched."""

    url: httpx.URL
    ip: str
    """The only address to connect to; IPv4 where available, since not every machine has an IPv6 route."""


@dataclass(frozen=True)
class Guard:
    """Checks addresses by the rules of the module docstring."""

    ports: frozenset[int] = frozenset({80, 443})
    """Ports that may be reached."""
    networks: tuple[str, ...] = ()
    """Networks that may be reached although they are not public, such as "10.1.2.0/24"."""
    resolver: Callable[[str, int], list[str]] = system_resolver
    """Resolves (host, port) to addresses."""

    def parse(self, url: str) -> httpx.URL:
        """Return `url` parsed, without its fragment, if its form is allowed; resolves nothing.

        Raises:
            AddressError: it is not allowed.
        """
        if len(url) > _MAX_URL:
            raise AddressError("the address is too long")
        if _UNCLEAN.search(url):
            raise AddressError("the address has blanks or control characters in it")
        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, ValueError, TypeError):
            raise AddressError("this is no address of a page") from None
        if parsed.scheme not in ("http", "https"):
            raise AddressError("only http and https addresses can be visited")
        if parsed.userinfo or "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]:
            raise AddressError("addresses with a user name are not visited")
        if _port(parsed) not in self.ports:
            raise AddressError("this port is not visited")
        _check_host(host)
        literal = host.strip("[]")
        inner = not self._allowed(literal) if _is_ip(literal) else "." not in host.rstrip(".") and not self.networks
        if inner:
            raise AddressError(_NOT_PUBLIC)
        return parsed.copy_with(fragment=None)

    def check(self, url: str, seconds: float) -> Target:
        """Parse and resolve `url`.

        Args:
            url: address from an agent or a redirect.
            seconds: time limit for resolving the name.

        Raises:
            AddressError: the address is not allowed, or its name has no address.
        """
        parsed = self.parse(url)
        host = parsed.raw_host.decode("ascii").strip("[]")
        addresses = [host] if _is_ip(host) else self._resolve(host, _port(parsed), seconds)
        if not addresses:
            raise AddressError("there is no such site")
        if not all(map(self._allowed, addresses)):
            raise AddressError(_NOT_PUBLIC)
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
        # A system resolver can't be interrupted; a daemon thread can be abandoned.
        threading.Thread(target=lambda: found.put(self.resolver(host, port)), daemon=True).start()
        try:
            return found.get(timeout=max(seconds, 0.0))
        except Empty:
            raise AddressError("the site's name could not be resolved in time") from None


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
            raise AddressError("this is no address of a page")
        return
    labels = host.removesuffix(".").split(".")
    if not host or len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise AddressError("this is no address of a page")
    if (labels[-1].isdigit() or labels[-1].startswith("0x")) and (host.endswith(".") or not _is_ip(host)):
        raise AddressError("numeric addresses must be written as four decimal numbers")
