"""The supported search services: how to call each, and how to read its reply.

A provider turns (query, k) into a `Call`, which never contains the key, and a JSON reply into passages (title, snippet, address).
Missing members become empty, entries that are not results are skipped, and a service's own score is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from empg_gym.envs.deepsearch.web.extract import clean, clean_line
from empg_gym.errors import ConfigError, nearest
from empg_gym.retrieval.backends import Passage

Answer = Any


@dataclass(frozen=True)
class Call:
    """A request without its key, as it is recorded.

    Example: Call("POST", "https://google.serper.dev/search", body={"q": "who", "num": 3})
    """

    method: str
    url: str
    params: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Provider:
    """A search service."""

    name: str
    endpoint: str
    """Address of the service; empty if the operator must provide one."""
    keys: tuple[str, ...]
    """Environment variables that may hold the key, the first match wins; empty if the service needs no key."""
    key_place: tuple[Literal["header", "param"], str]
    """Where to send the key: a header (its name; "Authorization" adds `Bearer`) or a query parameter."""
    call: Callable[[str, str, int, str], Call]
    """Builds the request: (endpoint, query, k, language) -> Call."""
    read: Callable[[Answer], list[Passage]]
    """Reads the JSON reply."""


def _entries(answer: Answer, *path: str) -> list[dict[str, Any]]:
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return [entry for entry in answer if isinstance(entry, dict)] if isinstance(answer, list) else []


def _passages(entries: list[dict[str, Any]], url: str, *texts: str) -> list[Passage]:
    found = []
    for entry in entries:
        address = clean_line(str(entry.get(url) or ""))
        text = next((clean(str(entry[name])) for name in texts if entry.get(name)), "")
        title = clean_line(str(entry.get("title") or ""))
        score = entry.get("score")
        if address or text:
            number = float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
            found.append(Passage(id=address, title=title, text=text, url=address, score=number))
    return found


def _serper_call(endpoint: str, query: str, k: int, language: str) -> Call:
    return Call("POST", endpoint, body={"q": query, "num": max(k, 10), **({"hl": language} if language else {})})


def _serpapi_call(endpoint: str, query: str, k: int, language: str) -> Call:
    return Call("GET", endpoint, {"engine": "google", "q": query, "num": str(max(k, 10)), **({"hl": language} if language else {})})


def _serpapi_read(answer: Answer) -> list[Passage]:
    box = answer.get("answer_box") if isinstance(answer, dict) else None
    boxed = _passages([box] if isinstance(box, dict) else [], "link", "answer", "snippet")
    organic = _passages(_entries(answer, "organic_results"), "link", "snippet")
    return [passage for passage in boxed if passage.text] + organic


def _brave_call(endpoint: str, query: str, k: int, language: str) -> Call:
    return Call("GET", endpoint, {"q": query[:400], "count": str(min(k, 20)), **({"search_lang": language} if language else {})})


def _tavily_call(endpoint: str, query: str, k: int, language: str) -> Call:
    return Call("POST", endpoint, body={"query": query[:399], "max_results": min(k, 20)})


def _searxng_call(endpoint: str, query: str, k: int, language: str) -> Call:
    base = endpoint.rstrip("/")
    url = base if base.endswith("/search") else base + "/search"
    return Call("GET", url, {"q": query, "format": "json", **({"language": language} if language else {})})


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            name="serper",
            endpoint="https://google.serper.dev/search",
            keys=("SERPER_API_KEY", "SERPER_KEY_ID", "GOOGLE_SEARCH_KEY"),
            key_place=("header", "X-API-KEY"),
            call=_serper_call,
            read=lambda answer: _passages(_entries(answer, "organic"), "link", "snippet"),
        ),
        Provider(
            name="serpapi",
            endpoint="https://serpapi.com/search",
            keys=("SERPAPI_API_KEY", "SERPAPI_KEY"),
            key_place=("param", "api_key"),
            call=_serpapi_call,
            read=_serpapi_read,
        ),
        Provider(
            name="brave",
            endpoint="https://api.search.brave.com/res/v1/web/search",
            keys=("BRAVE_API_KEY", "BRAVE_SEARCH_API_KEY"),
            key_place=("header", "X-Subscription-Token"),
            call=_brave_call,
            read=lambda answer: _passages(_entries(answer, "web", "results"), "url", "description"),
        ),
        Provider(
            name="tavily",
            endpoint="https://api.tavily.com/search",
            keys=("TAVILY_API_KEY",),
            key_place=("header", "Authorization"),
            call=_tavily_call,
            read=lambda answer: _passages(_entries(answer, "results"), "url", "content", "raw_content"),
        ),
        Provider(
            name="searxng",
            endpoint="",
            keys=(),
            key_place=("header", ""),
            call=_searxng_call,
            read=lambda answer: _passages(_entries(answer, "results"), "url", "content"),
        ),
    )
}
"""Services by name. SearXNG is self-hosted: its address comes from the argument or from SEARXNG_URL, and it must have JSON enabled."""


def find_provider(name: str) -> Provider:
    """Return the service `name`.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in PROVIDERS:
        raise ConfigError(f"unknown live search service {name!r}; {nearest(name, PROVIDERS)}")
    return PROVIDERS[name]
