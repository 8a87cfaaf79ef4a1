"""Live web search behind the retriever protocol.

Rules:
    - One search (all its queries, all tries) takes at most `seconds`; a query that fails fails the search with a `SearchFailed` whose
      text holds neither key nor address.
    - 429, 5xx, timeouts and broken connections are tried again, with jitter and `Retry-After` (`http.persistent`).
    - Results on denied sites are left out (`deny`); titles and texts are cleaned (`extract`).
    - The raw answer is what a recording holds; the key is in neither the recording's key nor its value.
    - The key is read from the environment at each request, so that the object can be pickled, printed and logged.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from empg_gym.envs.deepsearch.web.cache import NotRecorded, Recorder
from empg_gym.envs.deepsearch.web.deny import BENCHMARK_MIRRORS, denied
from empg_gym.envs.deepsearch.web.keys import find_key, need_key
from empg_gym.envs.deepsearch.web.providers import Call, Provider, find_provider
from empg_gym.envs.deepsearch.web.rate import Bucket
from empg_gym.errors import ConfigError
from empg_gym.retrieval.backends import Passage, SearchFailed
from empg_gym.retrieval.http import RETRY_STATUSES, HTTPTrouble, exchange, persistent

_MAX_ANSWER = 8 << 20
_AT_ONCE = 4
_MAX_QUERY = 2000


@dataclass(frozen=True)
class LiveSearch:
    """Searches the web through a service.

    Raises:
        ConfigError: an unknown service, no key in the environment (unless everything is replayed), or no address where one is needed.
    """

    service: str
    endpoint: str = ""
    """Address of the service; empty = the service's own. SearXNG's comes from SEARXNG_URL where it is not given."""
    language: str = ""
    seconds: float = 30.0
    tries: int = 3
    recorder: Recorder = field(default_factory=Recorder)
    deny: tuple[str, ...] = BENCHMARK_MIRRORS
    bucket: Bucket = field(default_factory=lambda: Bucket(5.0, 5), compare=False)
    """Requests a second of this process."""

    def __post_init__(self) -> None:
        provider = find_provider(self.service)
        if self.seconds <= 0 or self.tries < 1:
            raise ConfigError(f"seconds must be above 0 and tries at least 1, not {self.seconds} and {self.tries}")
        if not self._endpoint().startswith(("http://", "https://")):
            raise ConfigError(f"{self.service} needs its address (http://… or https://…): give endpoint, or set {self.service.upper()}_URL")
        if provider.keys and self.recorder.mode != "replay_only":
            need_key(self.service, provider.keys)

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        end = time.monotonic() + self.seconds
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search") as pool:
            return list(pool.map(lambda query: self._one(query, k, end), queries))

    def _endpoint(self) -> str:
        return self.endpoint or find_provider(self.service).endpoint or find_key((f"{self.service.upper()}_URL",))

    def _one(self, query: str, k: int, end: float) -> list[Passage]:
        if not query.strip():
            return []
        provider = find_provider(self.service)
        call = provider.call(self._endpoint(), query.encode("utf-8", "replace").decode()[:_MAX_QUERY], k, self.language)
        asked = {"method": call.method, "url": call.url, "params": call.params, "body": call.body, "k": k, "language": self.language}
        try:
            raw = self.recorder.fetch(self.service, asked, lambda: self._send(provider, call, end))
            answer = json.loads(raw)
        except NotRecorded as error:
            raise SearchFailed(f"{self.service}: {error}") from None
        except HTTPTrouble as trouble:
            raise SearchFailed(f"{self.service} does not answer: {trouble}") from trouble
        except (ValueError, RecursionError):
            raise SearchFailed(f"{self.service}'s answer is no JSON") from None
        return [passage for passage in provider.read(answer) if not denied(passage.url, self.deny)][:k]

    def _send(self, provider: Provider, call: Call, end: float) -> bytes:
        reply = persistent(lambda: self._exchange(provider, call, end), tries=self.tries, end=end)
        if reply.status in (401, 403):
            hint = "; is JSON among its search.formats?" if provider.name == "searxng" else "; is the key right?"
            raise SearchFailed(f"{provider.name} refused the search (status {reply.status}){hint}")
        if reply.status != 200:
            what = "has trouble" if reply.status in RETRY_STATUSES else "refused the search"
            raise SearchFailed(f"{provider.name} {what} (status {reply.status})")
        try:
            json.loads(reply.body)
        except (ValueError, RecursionError):
            raise SearchFailed(f"{provider.name}'s answer is no JSON") from None  # must not be recorded
        return reply.body

    def _exchange(self, provider: Provider, call: Call, end: float) -> Any:
        if not self.bucket.take(end):
            raise HTTPTrouble("too many searches at once")
        params, headers = dict(call.params), {"Accept": "application/json", "User-Agent": "empg-gym"}
        if provider.keys:
            key = need_key(provider.name, provider.keys)
            place, name = provider.key_place
            if place == "param":
                params[name] = key
            else:
                headers[name] = f"Bearer {key}" if name == "Authorization" else key
        request = httpx.Request(call.method, call.url, params=params or None, json=call.body, headers=headers)
        return exchange(request, end=end, max_bytes=_MAX_ANSWER)
