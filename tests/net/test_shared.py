"""Agents, the live web, retrieval servers, the judge and downloads retry the same failures by the same policy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from empg_gym.data.download import fetch
from empg_gym.data.registry import DataFile
from empg_gym.envs.deepsearch.access import ServerPages
from empg_gym.envs.deepsearch.scoring import Transcript, get_reward
from empg_gym.envs.deepsearch.web import Fetcher, JinaReader, live_search
from empg_gym.errors import EMPGGymError
from empg_gym.net.json_client import JSONClient
from empg_gym.net.retry import RetryPolicy, is_retryable
from empg_gym.retrieval.remote import RemoteRetriever
from tests.deepsearch_web.servers import answering, local_guard, reply, serving


def agent(server, folder):
    asyncio.run(JSONClient(server.url, retry=RetryPolicy(retries=2)).post("/chat", {}, dict))


def search(server, folder):
    live_search("searxng", endpoint=server.url).search(["q"], 1)


def page(server, folder):
    Fetcher(local_guard(server.port), robots=False).visit(f"http://site.example:{server.port}/")


def reader(server, folder):
    JinaReader(server.url).visit("https://site.example/")


def retriever(server, folder):
    RemoteRetriever(server.url).search(["q"], 1)


def server_pages(server, folder):
    ServerPages(RemoteRetriever(server.url)).visit("https://site.example/")


def judge(server, folder):
    reward = get_reward("llm_judge", protocol="plain", judge={"base_url": server.url, "model": "m", "cache": ""})
    reward.settle(Transcript("Where?", ("Harrow Bay",), (), "the bay"))


def download(server, folder):
    fetch(DataFile(name="set.bin", urls=(server.url + "/set.bin",)), folder)


USERS: dict[Callable, object] = {
    agent: {},
    search: {"results": []},
    page: {},
    reader: {},
    retriever: {"result": [[]]},
    server_pages: {"result": [{"contents": "text"}]},
    judge: {"choices": [{"message": {"content": "Correct"}}]},
    download: {},
}
"""Each user of the network, and a body that satisfies it."""

users = pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__)


@pytest.fixture
def waits(monkeypatch):
    """The `Retry-After` of each wait that the policy decided; the waits themselves are short."""
    asked = []
    wait = RetryPolicy.wait

    def quick(self, attempt, rng, headers=None):
        asked.append((headers or {}).get("retry-after"))
        return wait(replace(self, first_wait=0.001, longest_wait=0.001), attempt, rng)

    monkeypatch.setattr(RetryPolicy, "wait", quick)
    for name in ("JINA_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return asked


def good(user):
    return reply(json.dumps(USERS[user]).encode(), kind="application/json", headers={"Connection": "close"})


@users
@pytest.mark.parametrize("status", [400, 402, 408, 409, 410, 422, 425, 429, 500, 501, 503, 520, 529])
def test_every_user_retries_the_same_statuses_and_hands_the_policy_the_headers(user, status, waits, tmp_path):
    refusal = reply(status=status, headers={"Retry-After": "7", "Connection": "close"})
    with serving(answering(refusal, good(user))) as server, contextlib.nullcontext() if is_retryable(status) else failing(user):
        user(server, tmp_path)
    assert len(server.requests) == (2 if is_retryable(status) else 1)
    assert waits.count("7") == (1 if is_retryable(status) else 0)


@users
def test_every_user_retries_a_broken_connection(user, waits, tmp_path):
    with serving(answering(b"", good(user))) as server:
        user(server, tmp_path)
    assert len(server.requests) == 2 and len(waits) >= 1


def failing(user):
    """Expect the user's error; the judge falls back to the exact match instead of raising one."""
    return contextlib.nullcontext() if user is judge else pytest.raises(EMPGGymError)
