"""An exchange that is retried until a deadline.

Rules:
    - Failures that may pass are retried by the policy (`empg_gym.net.retry`); a wait that would end after the deadline is not begun.
    - The reply of the last attempt is returned whatever its status: what a status means is for the caller to say.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from empg_gym.net.exchange import ExchangeError, Reply
from empg_gym.net.retry import RetryPolicy, is_retryable


def send_with_retries(send: Callable[[], Reply], *, retry: RetryPolicy, end: float) -> Reply:
    """Call `send` until it returns a reply that is not worth a retry, the attempts are used up or the time is over.

    Args:
        send: makes one attempt, usually a call of `exchange`.
        retry: how often to retry and how long to wait.
        end: deadline, a point of `time.monotonic()`.

    Raises:
        ExchangeError: the last attempt got no reply.
    """
    rng = random.Random()
    attempt = 0
    while True:
        try:
            outcome: Reply | ExchangeError = send()
        except ExchangeError as error:
            outcome = error
        passing = outcome.retryable if isinstance(outcome, ExchangeError) else is_retryable(outcome.status)
        headers = None if isinstance(outcome, ExchangeError) else outcome.headers
        if passing and attempt < retry.retries and time.monotonic() + (wait := retry.wait(attempt, rng, headers)) < end:
            time.sleep(wait)
            attempt += 1
        elif isinstance(outcome, ExchangeError):
            raise outcome
        else:
            return outcome
