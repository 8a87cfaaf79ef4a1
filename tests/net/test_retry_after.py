"""The values that servers write into `Retry-After`."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.net.retry_after import retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 -0000"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 21 Oct " + "9" * 20 + " 07:28:00 GMT"}, None),
        ({"retry-after": "99999"}, 99999.0),
        ({"retry-after": "9" * 9999}, math.inf),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "soon"}, None),
    ],
)
def test_values_and_their_seconds(headers, seconds):
    now = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
    assert retry_after(headers, now=now) == seconds
    assert retry_after(headers, longest=120.0, now=now) == (None if seconds is None else min(seconds, 120.0))


@given(st.text(max_size=40) | st.text(st.sampled_from("0123456789-+:, JanFriGMT²٣"), max_size=40))
def test_any_value_is_a_time_or_ignored(value):
    asked = retry_after({"retry-after": value, "retry-after-ms": value})
    assert asked is None or asked >= 0
