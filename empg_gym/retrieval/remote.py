"""Client of a Search-R1 retrieval server.

Contract: `POST {url}` with `{"queries": [str], "topk": int, "return_scores": true}` is answered with
`{"result": [[{"document": {…}, "score": float}, …], …]}`, one list per query.

Rules:
    - Bare documents (`[{"id", "contents"}, …]`), missing scores and missing ids are accepted: servers differ in all three.
    - A document's title and text are its members of these names if present, else the first line of `contents` (without quotes) and the
      remaining lines.
    - Failures that may pass are retried by the policy of all HTTP clients (`empg_gym.net.retry`): at most `tries` attempts within
      `seconds`.
    - The texts of `SearchFailed` are part of the environment: they may be shown to an agent.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import httpx

from empg_gym.errors import ConfigError
from empg_gym.net.exchange import ExchangeError, Reply, exchange
from empg_gym.net.retry import RetryPolicy, is_retryable
from empg_gym.net.send import send_with_retries
from empg_gym.retrieval.backends import SearchFailed
from empg_gym.retrieval.corpus import Passage, passage_of

_MAX_REPLY = 64 << 20
"""Bytes."""


@dataclass(frozen=True)
class RemoteRetriever:
    """Searches a Search-R1 server; verl, SkyRL, verl-agent and ASearcher use the same contract.

    Raises:
        ConfigError: the address is not an http address or a limit is out of range.
    """

    url: str = "http://127.0.0.1:8000/retrieve"
    """Address of the endpoint; `/retrieve` is added if the address has no path."""
    seconds: float = 30.0
    """Time limit of one search, retries included."""
    tries: int = 3
    """Attempts per search."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f"the address of a retrieval server must begin with http:// or https://, got {self.url!r}")
        if self.seconds <= 0 or self.tries < 1:
            raise ConfigError(f"seconds must be above 0 and tries at least 1, got {self.seconds} and {self.tries}")

    def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        if not queries:
            return []
        address = httpx.URL(self.url)
        if address.path in ("", "/"):
            address = address.copy_with(path="/retrieve")
        return read_result(self._post(address, {"queries": queries, "topk": k, "return_scores": True}), len(queries), k)

    def _post(self, address: httpx.URL, body: dict[str, Any]) -> Any:
        end = time.monotonic() + self.seconds

        def send() -> Reply:
            return exchange(httpx.Request("POST", address, json=body), end=end, max_bytes=_MAX_REPLY)

        try:
            reply = send_with_retries(send, retry=RetryPolicy(retries=self.tries - 1), end=end)
        except ExchangeError as error:
            raise SearchFailed(f"the retrieval server does not answer: {error}") from error
        if is_retryable(reply.status):
            raise SearchFailed(f"the retrieval server has trouble (status {reply.status})")
        if reply.status != 200:
            raise SearchFailed(f"the retrieval server refused the search (status {reply.status})")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise SearchFailed("the retrieval server's answer is no JSON") from None


def read_result(answer: Any, queries: int, k: int) -> list[list[Passage]]:
    """Return the passages in a server's answer, which may have any of the forms in use.

    Raises:
        SearchFailed: it has none of them, or not one list per query.
    """
    lists = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(lists, list) or len(lists) != queries or not all(isinstance(found, list) for found in lists):
        raise SearchFailed("the retrieval server's answer has not one list of passages a query")
    return [[_passage(entry) for entry in found[:k]] for found in lists]


def _passage(entry: Any) -> Passage:
    if not isinstance(entry, dict):
        raise SearchFailed("the retrieval server's answer holds something that is no passage")
    document = entry.get("document", entry)
    if isinstance(document, str):
        document = {"contents": document}
    if not isinstance(document, dict):
        raise SearchFailed("the retrieval server's answer holds something that is no passage")
    score = entry.get("score")
    return passage_of(document, float(score) if isinstance(score, int | float) else None)
