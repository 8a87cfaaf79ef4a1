"""An asynchronous JSON client for servers that are sometimes slow, busy or broken.

Rules:
    - At most `concurrency` requests are in flight; a request that waits for its next attempt does not occupy a slot.
    - What may pass (`empg_gym.net.retry`) and a body that can't be read or is too large (`empg_gym.net.body`) are retried, `retry.retries`
      times; then they are an `AgentError`.
    - When a server answers 429, all requests of this client wait, not only the refused one: as long as the server asks, else for the
      backoff of that request. They resume spread over the same time again, at most `_SPREAD` seconds.
    - A refused key, an unknown path and a used-up quota are user errors: `ConfigError` at once. The statuses 401, 403 and 404 concern the
      key and the path only until a request has succeeded. Later 403 refuses that one request; 401 and 404 are retried, then an
      `AgentError` of that request.
    - Any other 4xx status is a `RejectedRequest`: the request itself was wrong.
    - The key never appears in an error text, nor do the user name and password of the address, which are sent as a header.
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
from empg_gym.net.body import ENCODINGS, BodyError, BoundedBody
from empg_gym.net.retry import RetryPolicy, is_retryable

Result = TypeVar("Result")
_RETRY = RetryPolicy()
_SHOWN_CHARS = 500
"""Characters of a server's message that an error text quotes."""
_GET_RETRIES = 2
"""Most retries of a GET: a person waits for its failure."""
_MAX_REPLY = 64 << 20
"""Bytes of a reply, unpacked."""
_OF_THE_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that describe the bytes as they were sent."""
_SPREAD = 2.0
"""Seconds. If all requests resumed at the same moment, all would be refused again until their retries are used up."""


class RejectedRequest(AgentError):
    """The server understood the request and refuses it (a 4xx status that a retry can't fix)."""

    def __init__(self, text: str, *, status: int, body: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = body


class UnreadableReply(Exception):
    """Raised by a reader of bodies when the body breaks the protocol. The request is retried."""


class JSONClient:
    """Sends and receives JSON. An instance may serve several event loops, one after the other.

    Args:
        base_url: address that paths are appended to.
        key: bearer token, or None.
        headers: additional headers of every request.
        timeout: time limit of one attempt in seconds, from the first byte sent to the last byte read.
        retry: how often to retry, and how long to wait.
        concurrency: maximum number of requests in flight.
        timeout_setting: what a user sets the timeout with, for errors.

    Raises:
        ConfigError: an argument can't be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        retry: RetryPolicy = _RETRY,
        concurrency: int = 64,
        timeout_setting: str = "timeout",
    ) -> None:
        _check_url(base_url)
        for name, value, least in (("timeout", timeout, 0.001), ("concurrency", concurrency, 1)):
            if not least <= value < math.inf:
                raise ConfigError(f"{name} must be at least {least} and finite, not {value}")
        address = httpx.URL(base_url)
        self._login = (address.username, address.password) if address.userinfo else None
        self.base_url = (str(address.copy_with(userinfo=b"")) if self._login else base_url).rstrip("/")
        self.timeout, self._timeout_setting = timeout, timeout_setting
        self.retry = retry
        self.concurrency = concurrency
        self._key = bearer_key(key)
        self._accepted = False
        self._headers = dict(headers or {})
        self._rng = random.Random()
        self._not_before = 0.0
        self._bound: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient, asyncio.Semaphore] | None = None

    async def post(self, path: str, payload: Mapping[str, Any], read: Callable[[dict[str, Any]], Result]) -> Result:
        """Send `payload` and return the reply's JSON object as converted by `read`.

        Args:
            path: appended to the base URL.
            payload: JSON object to send.
            read: converts the reply; raises `UnreadableReply` for one that is worth a retry.

        Raises:
            AgentError: every attempt failed.
            RejectedRequest: the server refuses the request.
            ConfigError: the server refuses the key, the path or the quota.
        """
        url = self.base_url + path
        problem = ""
        for attempt in range(self.retry.retries + 1):
            wait = self.retry.wait(attempt, self._rng)
            try:
                response = await self._send("POST", url, payload)
            except (httpx.RequestError, TimeoutError, BodyError) as error:
                problem = self._described(error)
            else:
                if response.status_code < 300:
                    self._accepted = True
                    try:
                        return read(_object(response))
                    except UnreadableReply as error:
                        problem = f"the reply can't be read: {error}"
                else:
                    problem = self._refusal(response, url)
                    wait = self._wait_after(response, attempt)
            if attempt < self.retry.retries:
                await asyncio.sleep(wait)
        raise AgentError(f"{url} failed {self.retry.attempts}; the last problem: {problem}")

    async def get(self, path: str) -> dict[str, Any] | None:
        """Return the JSON object at `path`, or None if the server answers but does not offer one.

        Raises:
            ConfigError: no server answers at the base URL.
        """
        url = self.base_url + path
        failure: Exception | None = None
        retries = min(self.retry.retries, _GET_RETRIES)
        for attempt in range(retries + 1):
            wait = self.retry.wait(attempt, self._rng)
            try:
                response = await self._send("GET", url, None)
                failure = None
                if response.status_code < 300:
                    return _object(response)
                if not is_retryable(response.status_code):
                    return None
                wait = self._wait_after(response, attempt)
            except (UnreadableReply, BodyError):
                failure = None
            except (httpx.RequestError, TimeoutError) as error:
                failure = error
            if attempt < retries:
                await asyncio.sleep(wait)
        if failure is None:
            return None
        raise ConfigError(f"no answer from {self.base_url} ({self._described(failure)}); start the server there, or set another base_url")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._bound is not None:
            loop, client, _ = self._bound
            self._bound = None
            if loop is asyncio.get_running_loop():
                await client.aclose()

    async def _send(self, method: str, url: str, payload: Mapping[str, Any] | None) -> httpx.Response:
        client, slots = self._connections()
        while (wait := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(wait + self._rng.uniform(0.0, min(wait, _SPREAD)))
        async with slots, asyncio.timeout(self.timeout), client.stream(method, url, json=payload) as reply:
            body = BoundedBody(reply.headers.get("content-encoding", ""), _MAX_REPLY)
            async for chunk in reply.aiter_raw():
                body.feed(chunk)
            headers = [(name, value) for name, value in reply.headers.items() if name not in _OF_THE_TRANSFER]
            return httpx.Response(reply.status_code, headers=headers, content=body.finish(), request=reply.request)

    def _wait_after(self, refusal: httpx.Response, attempt: int) -> float:
        """Return the seconds until the next attempt; after a 429 all requests of the client wait that long."""
        wait = self.retry.wait(attempt, self._rng, refusal.headers)
        if refusal.status_code == 429:
            self._not_before = max(self._not_before, time.monotonic() + wait)
        return wait

    def _connections(self) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if self._bound is None or self._bound[0] is not loop:
            headers = {"accept-encoding": ENCODINGS, **({"authorization": f"Bearer {self._key}"} if self._key else {}), **self._headers}
            client = httpx.AsyncClient(
                auth=self._login,
                headers=headers,
                timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, 20.0), pool=None),
                limits=httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency),
            )
            self._bound = (loop, client, asyncio.Semaphore(self.concurrency))
        return self._bound[1], self._bound[2]

    def _refusal(self, response: httpx.Response, url: str) -> str:
        """Return the problem of a reply that is worth a retry; raise for any other.

        Raises:
            RejectedRequest: the request itself is wrong.
            ConfigError: the key, the path or the quota is refused.
        """
        status, body = response.status_code, self._clean(response.text)
        answer = f"status {status}: {_message(body)[:_SHOWN_CHARS]}"
        if self._accepted and status in (401, 404):
            return answer  # a gateway or a restart: it was accepted before
        if status == 401 or (status == 403 and not self._accepted):
            raise ConfigError(f"{url} refuses the key ({answer}); set OPENAI_API_KEY, or name the variable that holds it in api_key_env")
        if status == 404:
            raise ConfigError(f"{url} was not found ({answer}); check the base URL (it usually ends in /v1) and the model name")
        if status == 429 and "insufficient_quota" in body:
            raise ConfigError(f"the quota at {self.base_url} is used up ({answer})")
        if is_retryable(status):
            return answer
        raise RejectedRequest(f"{url} refuses the request ({answer})", status=status, body=body)

    def _described(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | httpx.TimeoutException):
            return f"no answer within {self.timeout:g} s ({self._timeout_setting})"
        if isinstance(error, BodyError):
            return f"the reply can't be read: {error}"
        return self._clean(f"{type(error).__name__}: {error}")

    def _clean(self, text: str) -> str:
        for secret in filter(None, (self._key, *(self._login or ())[1:])):
            text = text.replace(secret, "[key]")
        return text


def bearer_key(key: str | None) -> str | None:
    """Return a key without surrounding white space, or None if nothing is left.

    Raises:
        ConfigError: it contains characters that neither keys nor HTTP headers allow. The text does not show the key.
    """
    key = (key or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            "the key contains a space, a line break or a character outside ASCII; pass the key alone, exactly as the provider issued it"
        )
    return key or None


def _check_url(base_url: str) -> None:
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"base_url must begin with http:// or https://, not {base_url!r}")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"base_url {base_url!r} is not a valid address: {error}") from None
    if not url.host or not 1 <= (url.port or 80) <= 65535:
        raise ConfigError(f"base_url needs a host and a port from 1 to 65535, as in http://127.0.0.1:8000/v1, not {base_url!r}")


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:
        raise UnreadableReply(f"not JSON ({error})") from None
    if not isinstance(body, dict):
        raise UnreadableReply(f"expected a JSON object, got {type(body).__name__}")
    return body


def _message(body: str) -> str:
    """Return the message of an error body in OpenAI's format, else the whole body."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return body
    error = record.get("error", record) if isinstance(record, dict) else record
    message = error.get("message") if isinstance(error, dict) else error
    return str(message) if message else body
