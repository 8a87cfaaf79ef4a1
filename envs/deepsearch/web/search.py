"""Live web search with the retriever protocol.

Rules:
    - One search (all queries and retries) takes at most `seconds`; if one query fails, the search raises `SearchFailed`, whose
      text contains neither the key nor an address and is part of the environment: it may be shown to an agent.
    - Failures that may pass are retried by the policy of all HTTP clients (`empg_gym.net.retry`).
    - Results on denied sites are left out (`deny`); titles and texts are cleaned (`extract`).
    - A recording holds the raw reply; the API key is in neither its key nor its value.
    - The API key is read from the environment at each request, so that the object can be pickled, printed and logged.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import httpx

from empg_gym.envs.deepsearch.web.cache import NotRecorded, Recorder
from empg_gym.envs.deepsearch.web.deny import BENCHMARK_MIRRORS, denied
from empg_gym.envs.deepsearch.web.keys import find_key, need_key
from empg_gym.envs.deepsearch.web.providers import Call, Provider, find_provider
from empg_gym.envs.deepsearch.web.rate import Bucket
from empg_gym.errors import ConfigError
from empg_gym.net.exchange import ExchangeError, Reply, exchange
from empg_gym.net.retry import RetryPolicy, is_retryable
from empg_gym.net.send import send_with_retries
from empg_gym.retrieval.backends import Passage, SearchFailed

_MAX_REPLY = 8 << 20
"""Bytes."""
_PARALLEL = 4
"""Queries sent at the same time."""
_MAX_QUERY = 2000
"""Characters of a query that are sent."""


@dataclass(frozen=True)
class LiveSearch:
    """Searches the web through a service.

    Raises:
        ConfigError: an unknown service, no key in the environment (unless everything is replayed), or a required address is missing.
    """

    service: str
    endpoint: str = ""
    """Address of the service; empty uses the service's own. For SearXNG, an empty one is read from SEARXNG_URL."""
    language: str = ""
    seconds: float = 30.0
    """Time limit of one search, retries included."""
    tries: int = 3
    """Attempts per query."""
    recorder: Recorder = field(default_factory=Recorder)
    deny: tuple[str, ...] = BENCHMARK_MIRRORS
    """Sites whose results are left out, as patterns of `deny`."""
    bucket: Bucket = field(default_factory=lambda: Bucket(5.0, 5), compare=False)
    """Rate limit of this process."""

    def __post_init__(self) -> None:
        provider = find_provider(self.service)
        if self.seconds <= 0 or self.tries < 1:
            raise ConfigError(f"seconds must be above 0 and tries at least 1, got {self.seconds} and {self.tries}")
        if not self._endpoint().startswith(("http://", "https://")):
            raise ConfigError(f"{self.service} needs an address (http://… or https://…): set endpoint or {self.service.upper()}_URL")
        if provider.keys and self.recorder.mode != "replay_only":
            need_key(self.service, provider.keys)

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        end = time.monotonic() + self.seconds
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="search") as pool:
            return list(pool.map(lambda query: self._one(query, k, end), queries))

    def _endpoint(self) -> str:
        return self.endpoint or find_provider(self.service).endpoint or find_key((f"{self.service.upper()}_URL",))

    def _one(self, query: str, k: int, end: float) -> list[Passage]:
        if not query.strip():
            return []
        provider = find_provider(self.service)
        call = provider.call(self._endpoint(), query.encode("utf-8", "replace").decode()[:_MAX_QUERY], k, self.language)
        request = {"method": call.method, "url": call.url, "params": call.params, "body": call.body, "k": k, "language": self.language}
        try:
            raw = self.recorder.fetch(self.service, request, lambda: self._send(provider, call, end))
            answer = json.loads(raw)
        except NotRecorded as error:
            raise SearchFailed(f"{self.service}: {error}") from None
        except ExchangeError as error:
            raise SearchFailed(f"{self.service} does not answer: {error}") from error
        except (ValueError, RecursionError):
            raise SearchFailed(f"{self.service}'s answer is no JSON") from None
        return [passage for passage in provider.read(answer) if not denied(passage.url, self.deny)][:k]

    def _send(self, provider: Provider, call: Call, end: float) -> bytes:
        reply = send_with_retries(partial(self._exchange, provider, call, end), retry=RetryPolicy(retries=self.tries - 1), end=end)
        if reply.status in (401, 403):
            hint = "; is JSON among its search.formats?" if provider.name == "searxng" else "; is the key right?"
            raise SearchFailed(f"{provider.name} refused the search (status {reply.status}){hint}")
        if reply.status != 200:
            what = "has trouble" if is_retryable(reply.status) else "refused the search"
            raise SearchFailed(f"{provider.name} {what} (status {reply.status})")
        try:
            json.loads(reply.body)
        except (ValueError, RecursionError):
            raise SearchFailed(f"{provider.name}'s answer is no JSON") from None  # must not be recorded
        return reply.body

    def _exchange(self, provider: Provider, call: Call, end: float) -> Reply:
        if not self.bucket.take(end):
            raise ExchangeError("too many searches at once")
        params, headers = dict(call.params), {"Accept": "application/json", "User-Agent": "empg-gym"}
        if provider.keys:
            key = need_key(provider.name, provider.keys)
            place, name = provider.key_place
            if place == "param":
                params[name] = key
            else:
                headers[name] = f"Bearer {key}" if name == "Authorization" else key
        request = httpx.Request(call.method, call.url, params=params or None, json=call.body, headers=headers)
        return exchange(request, end=end, max_bytes=_MAX_REPLY)
