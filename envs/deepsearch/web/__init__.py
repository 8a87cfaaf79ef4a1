"""The live web: search services with the retriever protocol, and visitors that open pages of allowed addresses.

`live_search("serper")` and `live_visitor()` return objects for the arguments `backend` and `visit` of `EMPG/DeepSearch-v0`; the classes
expose every setting. Importing this package imports httpx; closed worlds don't need it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from empg_gym.envs.deepsearch.web.cache import MODES, Recorder
from empg_gym.envs.deepsearch.web.page_guard import PageGuard
from empg_gym.envs.deepsearch.web.providers import PROVIDERS
from empg_gym.envs.deepsearch.web.search import LiveSearch
from empg_gym.envs.deepsearch.web.visit import Fetcher, JinaReader
from empg_gym.errors import ConfigError, nearest
from empg_gym.retrieval.backends import Visitor

__all__ = [
    "LIVE_SERVICES",
    "LIVE_VISITORS",
    "MODES",
    "Fetcher",
    "JinaReader",
    "LiveSearch",
    "PageGuard",
    "Recorder",
    "live_search",
    "live_visitor",
]

LIVE_SERVICES: tuple[str, ...] = tuple(PROVIDERS)
"""Names that `live_search` accepts: brave, searxng, serpapi, serper, tavily."""

_VISITORS: dict[str, Callable[..., Visitor]] = {"fetch": Fetcher, "jina": JinaReader}
LIVE_VISITORS: tuple[str, ...] = tuple(_VISITORS)
"""Names that `live_visitor` accepts."""


def live_search(service: str, *, cache: str = "off", recording: Path | None = None, **settings: Any) -> LiveSearch:
    """Return live search by `service`.

    Args:
        service: one of `LIVE_SERVICES`.
        cache: mode of the record/replay cache: off, record, replay or replay_only.
        recording: file of the cache.
        settings: other fields of `LiveSearch`.

    Raises:
        ConfigError: an unknown service or mode, no key in the environment, no address for SearXNG.
        DataError: the recording can't be used.
    """
    return LiveSearch(service, recorder=Recorder(cache, recording), **settings)


def live_visitor(name: str = "fetch", *, cache: str = "off", recording: Path | None = None, **settings: Any) -> Visitor:
    """Return a visitor of the live web: "fetch" (fetches pages itself, guarded) or "jina" (r.jina.ai).

    Args:
        name: one of `LIVE_VISITORS`.
        cache: mode of the record/replay cache: off, record, replay or replay_only.
        recording: file of the cache.
        settings: other fields of `Fetcher` or `JinaReader`.

    Raises:
        ConfigError: an unknown visitor or mode.
        DataError: the recording can't be used.
    """
    if name not in _VISITORS:
        raise ConfigError(f"unknown visitor {name!r}; {nearest(name, _VISITORS)}")
    return _VISITORS[name](recorder=Recorder(cache, recording), **settings)
