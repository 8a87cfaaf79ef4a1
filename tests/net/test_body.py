"""Bodies of foreign servers are bounded, however they are sent and compressed."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import AgentError
from empg_gym.net import json_client
from empg_gym.net.body import BodyError, BoundedBody
from empg_gym.net.exchange import ExchangeError, exchange
from empg_gym.net.json_client import JSONClient
from empg_gym.net.retry import RetryPolicy
from tests.net.endless import endless

ENDLESS = 64 << 20
"""Bytes after which the endless bodies of these tests end."""


def read(encoding, chunks, limit=1000):
    body = BoundedBody(encoding, limit)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


def pieces(data, size):
    return [data[place : place + size] for place in range(0, len(data), size)]


@given(st.binary(max_size=2000), st.sampled_from(["", "gzip", "deflate"]), st.integers(1, 300))
def test_a_body_is_returned_as_it_was_sent_or_refused_for_its_length(data, encoding, size):
    sent = {"": lambda: data, "gzip": lambda: gzip.compress(data), "deflate": lambda: zlib.compress(data)}[encoding]()
    if len(data) <= 1000:
        assert read(encoding, pieces(sent, size)) == data
    else:
        with pytest.raises(BodyError, match="larger than 1,000 bytes"):
            read(encoding, pieces(sent, size))


@given(st.binary(max_size=500), st.integers(1, 100))
def test_any_bytes_are_read_or_refused(data, size):
    for encoding in ("gzip", "deflate"):
        with suppress(BodyError):
            assert len(read(encoding, pieces(data, size))) <= 1000


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused():
    with pytest.raises(BodyError, match="larger"):
        read("gzip", pieces(gzip.compress(bytes(50 << 20)), 4096))


def test_what_follows_compressed_data_is_not_collected():
    member, junk = gzip.compress(b"text"), bytes(60_000)
    assert read("gzip", [member, junk]) == b"text"
    body = BoundedBody("gzip", 1000)
    body.feed(member)
    with pytest.raises(BodyError, match="continues after the end"):
        for _ in range(3):
            body.feed(junk)


def test_other_encodings_are_refused():
    with pytest.raises(BodyError, match="compressed in a way"):
        BoundedBody("br", 1000)


def test_an_agents_server_whose_body_does_not_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(json_client, "_MAX_REPLY", 1 << 20, raising=False)
    with endless(ENDLESS, b"Content-Type: application/json\r\n") as (address, sent):

        async def ask():
            client = JSONClient(address, retry=RetryPolicy(retries=0), timeout=20)
            try:
                await client.post("/chat/completions", {}, lambda reply: reply)
            finally:
                await client.aclose()

        with pytest.raises(AgentError, match="larger than 1,048,576 bytes"):
            asyncio.run(ask())
    assert sent and sent[0] < ENDLESS // 2


@pytest.mark.parametrize("first", [b"", gzip.compress(b"text")], ids=["alone", "after a member"])
def test_junk_after_a_compressed_page_is_cut_off(first):
    head, said = (b"Content-Encoding: gzip\r\n", "continues after") if first else (b"", "larger than")
    with endless(ENDLESS, head, first) as (address, sent), pytest.raises(ExchangeError, match=said):
        exchange(httpx.Request("GET", address), end=time.monotonic() + 20, max_bytes=1 << 20)
    assert sent and sent[0] < ENDLESS // 2
