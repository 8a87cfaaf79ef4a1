"""The protocols, by name."""

from __future__ import annotations

from empg_gym.envs.deepsearch.protocols.arpo import Arpo
from empg_gym.envs.deepsearch.protocols.asearcher import ASearcher
from empg_gym.envs.deepsearch.protocols.base import Found, Parsed, Protocol, QueryResult
from empg_gym.envs.deepsearch.protocols.hermes import Hermes
from empg_gym.envs.deepsearch.protocols.plain import Plain
from empg_gym.envs.deepsearch.protocols.search_r1 import SearchR1
from empg_gym.errors import ConfigError, nearest

PROTOCOLS: dict[str, type[Protocol]] = {cls.name: cls for cls in (SearchR1, Arpo, ASearcher, Hermes, Plain)}
"""Name to class."""


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Return the protocol with this name, or `protocol` itself if it is an instance.

    Raises:
        ConfigError: the name is unknown.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; {nearest(str(protocol), PROTOCOLS)}")
    return PROTOCOLS[protocol]()


__all__ = ["PROTOCOLS", "Found", "Parsed", "Protocol", "QueryResult", "get_protocol"]
