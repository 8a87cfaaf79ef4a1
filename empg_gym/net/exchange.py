"""One HTTP exchange within hard limits.

Rules:
    - `end` is a point of `time.monotonic()`; connecting, TLS, headers and body together end by then, however slowly a server sends.
    - A body is cut off at `max_bytes`, counted after decompression (`empg_gym.net.body`).
    - `pin` is the only address that is connected to; name, SNI, certificate check and Host header stay those of the URL.
    - No redirects, cookies, proxies or netrc; no part of a request is logged (httpx logs URLs, and these may hold keys), and no
      error contains any of it, not even in its cause.
    - The texts of errors may be shown to an agent: they are part of the observations of Deep Search.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from empg_gym.errors import EMPGGymError
from empg_gym.net.body import ENCODINGS, BodyError, BoundedBody

CONNECT_SECONDS = 5.0
"""Upper limit for opening one connection."""


class ExchangeError(EMPGGymError):
    """No usable reply; the text contains no address, header or key."""

    def __init__(self, text: str, *, retryable: bool = False) -> None:
        super().__init__(text)
        self.retryable = retryable
        """Whether another attempt may succeed."""


@dataclass(frozen=True)
class Reply:
    """A reply that was read completely."""

    status: int
    headers: httpx.Headers
    body: bytes
    """After decompression."""


class _Stream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline."""

    def __init__(self, inner: httpcore.NetworkStream, end: float) -> None:
        self._inner = inner
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._end, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._end, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._end, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._end)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that respect the deadline, and only to the pinned address."""

    def __init__(self, end: float, pin: str | None) -> None:
        self._end = end
        self._pin = pin

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        left = min(CONNECT_SECONDS, _left(self._end, httpcore.ConnectTimeout))
        stream = httpcore.SyncBackend().connect_tcp(self._pin or host, port, left, local_address, socket_options or [])
        return _Stream(stream, self._end)


def _left(end: float, error: type[Exception]) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise error("the time is over")
    return left


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def exchange(request: httpx.Request, *, end: float, max_bytes: int, pin: str | None = None, types: tuple[str, ...] = ()) -> Reply:
    """Send `request` and read the reply.

    Args:
        request: what to send; `Accept-Encoding` and `Connection` are set here.
        end: deadline, a point of `time.monotonic()`.
        max_bytes: maximum length of the body after decompression.
        pin: IP address to connect to; None connects to the addresses that the name resolves to.
        types: media types whose bodies are read; empty accepts all. Bodies of redirects and errors are never refused for their type.

    Raises:
        ExchangeError: no reply, or one that is broken, of another type or over a limit.
    """
    url = request.url
    request.headers["Accept-Encoding"] = ENCODINGS
    request.headers["Connection"] = "close"
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    plain = httpcore.Request(request.method, target, headers=request.headers.raw, content=request.read())
    try:
        with httpcore.ConnectionPool(
            ssl_context=_trust() if url.scheme == "https" else None, max_connections=1, network_backend=_Backend(end, pin)
        ) as pool:
            reply = pool.handle_request(plain)
            try:
                headers = httpx.Headers(reply.headers)
                kind = headers.get("content-type", "").partition(";")[0].strip().lower()
                if types and reply.status == 200 and kind not in types:
                    raise ExchangeError(f"it is of the type {kind[:60] or 'unknown'}, which is not read here")
                return Reply(reply.status, headers, _read(reply, headers.get("content-encoding", ""), max_bytes))
            finally:
                reply.close()
    except httpcore.TimeoutException:
        raise ExchangeError("it took too long", retryable=True) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError):
        raise ExchangeError("the connection failed", retryable=True) from None


def _read(reply: httpcore.Response, encoding: str, max_bytes: int) -> bytes:
    try:
        body = BoundedBody(encoding, max_bytes)
        for chunk in reply.iter_stream():
            body.feed(chunk)
        return body.finish()
    except BodyError as error:
        raise ExchangeError(str(error), retryable=error.retryable) from None
