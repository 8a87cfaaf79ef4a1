"""The retry policy: which statuses are retried, how long the waits are, and when retrying ends."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.net.exchange import ExchangeError, Reply
from empg_gym.net.retry import RETRYABLE_STATUSES, RetryPolicy, is_retryable
from empg_gym.net.send import send_with_retries

seconds = st.floats(0.0, 1e6)
policies = st.builds(
    RetryPolicy, retries=st.integers(0, 20), first_wait=seconds, longest_backoff=seconds, longest_wait=st.floats(0.0, 1e6, exclude_min=True)
)
attempts = st.integers(0, 10_000)
times_to_come = st.floats(1e-3, 1e9)


class Fixed(random.Random):
    """A generator whose next number is known."""

    def __init__(self, number):
        super().__init__(0)
        self.number = number

    def random(self):
        return self.number


@given(st.integers(100, 999))
@example(409)
@example(599)
@example(600)
def test_statuses(status):
    assert is_retryable(status) == (status in RETRYABLE_STATUSES) == (status in (408, 409, 425, 429) or 500 <= status <= 599)


@given(policies, attempts, st.integers())
def test_the_backoff_is_jittered_doubled_and_capped(policy, attempt, seed):
    wait = policy.wait(attempt, random.Random(seed))
    bound = min(policy.longest_backoff, policy.first_wait * 2.0 ** min(attempt, 64))
    assert bound / 2 <= wait <= bound <= policy.longest_backoff


@given(policies, attempts, st.floats(0.0, 1.0, exclude_max=True))
def test_the_backoff_never_shrinks(policy, attempt, jitter):
    assert policy.wait(attempt, Fixed(jitter)) <= policy.wait(attempt + 1, Fixed(jitter))


@given(policies, st.integers(0, 40), st.integers(), st.integers())
def test_any_backoff_is_at_least_any_earlier_one_until_the_cap(policy, attempt, seed, other):
    later = policy.wait(attempt + 1, random.Random(other))
    assert later >= policy.wait(attempt, random.Random(seed)) or later >= policy.longest_backoff / 2


@given(policies, attempts, times_to_come, st.integers())
def test_a_server_is_obeyed_up_to_the_limit(policy, attempt, asked, seed):
    for headers in ({"retry-after": repr(asked)}, {"retry-after-ms": repr(asked * 1000)}, httpx.Headers({"Retry-After": repr(asked)})):
        wait = policy.wait(attempt, random.Random(seed), headers)
        obeyed = min(asked, policy.longest_wait)
        assert obeyed * (1 - 1e-9) <= wait <= obeyed + min(1.0, 0.1 * obeyed + 0.05) + 1e-9 * obeyed


@pytest.mark.parametrize("value", ["0", "-3", "soon", "nan", "", "Fri, 01 Jan 2021 00:00:00 GMT"])
@given(attempts, st.integers())
def test_a_time_that_is_past_or_unreadable_leaves_the_backoff(value, attempt, seed):
    policy = RetryPolicy()
    asked = policy.wait(attempt, random.Random(seed), {"retry-after": value})
    assert asked == policy.wait(attempt, random.Random(seed), None)


def test_a_time_without_end_is_cut_to_the_limit():
    assert 120.0 <= RetryPolicy().wait(0, random.Random(0), {"retry-after": "9" * 400}) <= 121.0


@pytest.mark.parametrize("name", ["retries", "first_wait", "longest_backoff", "longest_wait"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_values_are_checked(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be at least 0"):
        replace(RetryPolicy(), **{name: value})


def reply(status, **headers):
    return Reply(status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), b"")


class Server:
    """Gives outcomes in turn, repeating the last one."""

    def __init__(self, *outcomes):
        self.outcomes = outcomes
        self.calls = 0

    def __call__(self):
        self.calls += 1
        outcome = self.outcomes[min(self.calls, len(self.outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


QUICK = RetryPolicy(retries=3, first_wait=0.001)
PASSING = ExchangeError("the connection failed", retryable=True)


def in_time():
    return time.monotonic() + 60


@pytest.mark.parametrize("passing", [reply(503), reply(429), reply(408, retry_after="0.001"), PASSING])
def test_a_failure_that_passes_is_retried(passing):
    server = Server(passing, passing, reply(200))
    assert send_with_retries(server, retry=QUICK, end=in_time()).status == 200
    assert server.calls == 3


def test_a_failure_that_stays_ends_with_the_retries():
    server = Server(PASSING, reply(500), reply(502))
    assert send_with_retries(server, retry=QUICK, end=in_time()).status == 502
    assert server.calls == 4
    server = Server(reply(500), PASSING)
    with pytest.raises(ExchangeError, match="the connection failed"):
        send_with_retries(server, retry=QUICK, end=in_time())
    assert server.calls == 4


def test_an_answer_is_not_retried():
    server = Server(reply(404), reply(200))
    assert send_with_retries(server, retry=QUICK, end=in_time()).status == 404
    assert server.calls == 1
    server = Server(ExchangeError("it is larger than 5 bytes"), reply(200))
    with pytest.raises(ExchangeError, match="larger"):
        send_with_retries(server, retry=QUICK, end=in_time())
    assert server.calls == 1


def test_no_wait_is_begun_that_ends_after_the_deadline():
    server = Server(reply(429, retry_after="3600"), reply(200))
    assert send_with_retries(server, retry=QUICK, end=in_time()).status == 429
    assert server.calls == 1
    server = Server(PASSING, reply(200))
    with pytest.raises(ExchangeError):
        send_with_retries(server, retry=QUICK, end=time.monotonic())
    assert server.calls == 1
