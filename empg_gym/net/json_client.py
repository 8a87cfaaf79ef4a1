"""A JSON client for servers that are slow, busy or broken at times.

Rules:
    - At most `concurrency` requests are under way; a request that waits for its next attempt does not hold a place.
    - A failed connection, a time-out, a body that breaks off or can't be read, and the statuses 408, 409, 425, 429 and 5xx are tried
      again, `retries` times; then they are an `AgentError`.
    - When a server says 429, all requests of this client wait, not only the one that was told: as long as the server asks, else for the
      backoff of that request. They come back spread over as long again, at most `_SPREAD` seconds.
    - A refused key, an unknown path or a used-up quota is what the user has to mend: `ConfigError` at once. The status 403 means the key
      only as long as no request has succeeded; later it refuses that one request.
    - Any other 4xx status is `RejectedRequest`: the request itself was wrong.
    - The key never appears in an error text.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from empg_gym.errors import AgentError, ConfigError
from empg_gym.net.retry import LONGEST_WAIT, wait_seconds
from empg_gym.net.retry_after import retry_after

Result = TypeVar("Result")
_AGAIN = frozenset({408, 409, 425, 429})
_SHOWN = 500
_CHECK_RETRIES = 2
"""At most for a GET, whose failure a person waits for."""
_SPREAD = 2.0
"""Seconds. Requests that all come back at one moment are all refused again, until their attempts are used up."""


class RejectedRequest(AgentError):
    """The server understood the request and refuses it (a 4xx status that trying again can't mend)."""

    def __init__(self, text: str, *, status: int, body: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = body


class UnreadableReply(Exception):
    """Raised by a reader of bodies: the body is not what the protocol promises. The request is tried again."""


class JSONClient:
    """Sends JSON and reads JSON. One instance serves one event loop after the other.

    Args:
        base_url: address that paths are appended to.
        key: bearer token, or None.
        headers: further headers of every request.
        timeout: seconds for one attempt, from the first byte sent to the last byte read.
        retries: further attempts after a failure that may pass.
        concurrency: requests under way at once.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        concurrency: int = 64,
    ) -> None:
        _check_url(base_url)
        for name, value, least in (("timeout", timeout, 0.001), ("retries", retries, 0), ("concurrency", concurrency, 1)):
            if not least <= value < math.inf:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self.retries = retries
        self.concurrency = concurrency
        self._key = bearer_key(key)
        self._accepted = False
        self._headers = dict(headers or {})
        self._rng = random.Random()
        self._not_before = 0.0
        self._bound: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient, asyncio.Semaphore] | None = None

    async def post(self, path: str, payload: Mapping[str, Any], read: Callable[[dict[str, Any]], Result]) -> Result:
        """Send `payload` and return what `read` makes of the answer.

        Raises:
            AgentError: every attempt failed.
            RejectedRequest: the server refuses the request.
            ConfigError: the key, the path or the quota is refused.
        """
        url = self.base_url + path
        problem = ""
        for attempt in range(self.retries + 1):
            wait = wait_seconds(attempt, None, self._rng)
            try:
                response = await self._send("POST", url, payload)
            except (httpx.RequestError, TimeoutError) as error:
                problem = self._described(error)
            else:
                if response.status_code < 300:
                    self._accepted = True
                    try:
                        return read(_object(response))
                    except UnreadableReply as error:
                        problem = f"the answer can't be read: {error}"
                else:
                    problem = self._refusal(response, url)
                    wait = self._wait_after(response, attempt)
            if attempt < self.retries:
                await asyncio.sleep(wait)
        times = "once" if self.retries == 0 else f"{self.retries + 1} times"
        raise AgentError(f"{url} failed {times}; the last time: {problem}")

    async def get(self, path: str) -> dict[str, Any] | None:
        """Return the answer to one GET, or None where the server answers but does not offer this.

        Raises:
            ConfigError: no server answers there.
        """
        url = self.base_url + path
        failure: Exception | None = None
        for attempt in range((retries := min(self.retries, _CHECK_RETRIES)) + 1):
            wait = wait_seconds(attempt, None, self._rng)
            try:
                response = await self._send("GET", url, None)
                failure = None
                if response.status_code < 300:
                    return _object(response)
                if not _may_pass(response.status_code):
                    return None
                wait = self._wait_after(response, attempt)
            except UnreadableReply:
                failure = None
            except (httpx.RequestError, TimeoutError) as error:
                failure = error
            if attempt < retries:
                await asyncio.sleep(wait)
        if failure is None:
            return None
        raise ConfigError(f"no answer from {self.base_url} ({self._described(failure)}); start the server there or give another base_url")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._bound is not None:
            loop, client, _ = self._bound
            self._bound = None
            if loop is asyncio.get_running_loop():
                await client.aclose()

    async def _send(self, method: str, url: str, payload: Mapping[str, Any] | None) -> httpx.Response:
        client, places = self._here()
        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait + self._rng.uniform(0.0, min(wait, _SPREAD)))
        async with places, asyncio.timeout(self.timeout):
            return await client.request(method, url, json=payload)

    def _wait_after(self, refusal: httpx.Response, attempt: int) -> float:
        """Return the seconds until the next attempt, for which a 429 holds back all requests."""
        wait = wait_seconds(attempt, retry_after(refusal.headers, longest=LONGEST_WAIT), self._rng)
        if refusal.status_code == 429:
            self._not_before = max(self._not_before, time.monotonic() + wait)
        return wait

    def _here(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if self._bound is None or self._bound[0] is not loop:
            headers = {"authorization": f"Bearer {self._key}", **self._headers} if self._key else self._headers
            client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, 20.0), pool=None),
                limits=httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            )
            self._bound = (loop, client, asyncio.Semaphore(self.concurrency))
        return self._bound[1], self._bound[2]

    def _refusal(self, response: httpx.Response, url: str) -> str:
        """Return the problem of an answer that may pass; raise for one that won't."""
        status, body = response.status_code, self._clean(response.text)
        said = f"status {status}: {_message(body)[:_SHOWN]}"
        if status == 401 or (status == 403 and not self._accepted):
            raise ConfigError(f"{url} refuses the key ({said}); set OPENAI_API_KEY, or api_key_env to the variable that holds it")
        if status == 404:
            raise ConfigError(f"{url} is not there ({said}); check the base URL (it usually ends in /v1) and the model's name")
        if status == 429 and "insufficient_quota" in body:
            raise ConfigError(f"the quota at {self.base_url} is used up ({said})")
        if _may_pass(status):
            return said
        raise RejectedRequest(f"{url} refuses the request ({said})", status=status, body=body)

    def _described(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"no answer within {self.timeout:g} s"
        return self._clean(f"{type(error).__name__}: {error}")

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def bearer_key(key: str | None) -> str | None:
    """Return a key without the white space around it, or None where nothing is left.

    Raises:
        ConfigError: it has characters that no key and no HTTP header has. The text does not show the key.
    """
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            "the key holds a space, a line break or a character outside ASCII: give the key alone, as the server's owner wrote it"
        )
    return key or None


def _check_url(base_url: str) -> None:
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"base_url must begin with http:// or https://, not {base_url!r}")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"base_url {base_url!r} is no address: {error}") from None
    if not url.host or not 1 <= (url.port or 80) <= 65535:
        raise ConfigError(f"base_url needs a host and a port from 1 to 65535, as in http://127.0.0.1:8000/v1, not {base_url!r}")


def _may_pass(status: int) -> bool:
    return status in _AGAIN or status >= 500


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, UnicodeDecodeError) as error:
        raise UnreadableReply(f"not JSON ({error})") from None
    if not isinstance(body, dict):
        raise UnreadableReply(f"expected a JSON object, got {type(body).__name__}")
    return body


def _message(body: str) -> str:
    """Return the message in an error body of the OpenAI form, else the body."""
    try:
        record = json.loads(body)
    except ValueError:
        return body
    error = record.get("error", record) if isinstance(record, dict) else record
    message = error.get("message") if isinstance(error, dict) else error
    return str(message) if message else body
