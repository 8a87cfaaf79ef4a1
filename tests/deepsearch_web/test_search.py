"""Live search against local servers that implement the services' contracts, and against servers that misbehave."""

from __future__ import annotations

import json
import logging
import pickle
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from empg_gym.envs.deepsearch.web import LIVE_SERVICES, LiveSearch, live_search
from empg_gym.envs.deepsearch.web.providers import PROVIDERS
from empg_gym.errors import ConfigError
from empg_gym.retrieval import Passage
from empg_gym.retrieval.backends import SearchFailed
from tests.deepsearch_web.servers import answering, reply, serving

SECRET = "sk-very-secret-key"
ANSWERS = {
    "serper": {
        "organic": [
            {"title": "T", "link": "https://a.example/", "snippet": "S", "position": 1},
            {"title": "U", "link": "https://b.example/"},
        ]
    },
    "serpapi": {
        "answer_box": {"title": "Box", "link": "https://box.example/", "answer": "42"},
        "organic_results": [{"title": "T", "link": "https://a.example/", "snippet": "S"}],
        "related_questions": [{"question": "?"}],
    },
    "brave": {"web": {"results": [{"title": "T", "url": "https://a.example/", "description": "S"}]}},
    "tavily": {"results": [{"title": "T", "url": "https://a.example/", "content": "S", "score": 0.9}]},
    "searxng": {"results": [{"title": "T", "url": "https://a.example/", "content": "S", "engine": "x", "score": 1}]},
}
FOUND = Passage("https://a.example/", "T", "S", "https://a.example/")


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for provider in PROVIDERS.values():
        for name in provider.keys:
            monkeypatch.delenv(name, raising=False)
        if provider.keys:
            monkeypatch.setenv(provider.keys[-1], f" {SECRET}\n")
    monkeypatch.delenv("SEARXNG_URL", raising=False)


def body(answer):
    return reply(json.dumps(answer).encode(), kind="application/json")


@pytest.mark.parametrize("service", LIVE_SERVICES)
def test_each_service_follows_its_contract(service):
    with serving(answering(body(ANSWERS[service]))) as server:
        [found] = live_search(service, endpoint=server.url + "/search", language="en").search(["who & what"], 5)
    assert FOUND in [Passage(p.id, p.title, p.text, p.url) for p in found]
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    parameters = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    headers = {line.split(b": ")[0].decode().lower(): line.split(b": ", 1)[1].decode() for line in head.split(b"\r\n")[1:]}
    if service == "serper":
        assert method == "POST" and json.loads(sent) == {"q": "who & what", "num": 10, "hl": "en"} and headers["x-api-key"] == SECRET
        assert found[1] == Passage("https://b.example/", "U", "", "https://b.example/")
    elif service == "serpapi":
        assert parameters == {"engine": "google", "q": "who & what", "num": "10", "hl": "en", "api_key": SECRET}
        assert found[0].text == "42" and len(found) == 2
    elif service == "brave":
        assert parameters == {"q": "who & what", "count": "5", "search_lang": "en"} and headers["x-subscription-token"] == SECRET
    elif service == "tavily":
        assert json.loads(sent) == {"query": "who & what", "max_results": 5} and headers["authorization"] == f"Bearer {SECRET}"
        assert found[0].score == 0.9
    else:
        assert target.startswith("/search?") and parameters == {"q": "who & what", "format": "json", "language": "en"}


@pytest.mark.parametrize("service", LIVE_SERVICES)
@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        None,
        3,
        {"organic": 3, "results": {}, "web": []},
        {"organic": [1, {}], "results": [None, {"url": 3}], "web": {"results": [[]]}},
    ],
)
def test_replies_without_results_are_empty(service, answer):
    with serving(answering(body(answer))) as server:
        [found] = live_search(service, endpoint=server.url).search(["q"], 5)
    assert all(isinstance(passage, Passage) and passage.title == "" for passage in found)


def test_queries_keep_their_order_and_empty_ones_are_not_sent():
    def echo(connection, path, number):
        query = parse_qs(urlsplit(path).query)["q"][0]
        time.sleep(0.2 if query == "a" else 0)
        connection.sendall(body({"results": [{"title": query, "url": f"https://{query}.example/", "content": "x"}] * 9}))

    with serving(echo) as server:
        found = live_search("searxng", endpoint=server.url).search(["a", " ", "b", "c" * 50], 2)
    assert [[passage.title for passage in passages] for passages in found] == [["a", "a"], [], ["b", "b"], ["c" * 50] * 2]
    assert len(server.requests) == 3


def test_results_are_cleaned_and_benchmark_copies_are_left_out():
    rows = [
        {"title": "no", "url": "https://huggingface.co/datasets/gaia", "content": "the answers"},
        {"title": "A\u200b\n b", "url": "https://a.example/", "content": "x\x00y\u202e  z"},
    ]
    with serving(answering(body({"results": rows}))) as server:
        assert live_search("searxng", endpoint=server.url).search(["q"], 1) == [
            [Passage("https://a.example/", "A b", "xy z", "https://a.example/")]
        ]
        [both] = live_search("searxng", endpoint=server.url, deny=()).search(["q"], 5)
    assert len(both) == 2


def test_failures_are_retried():
    cut = body(ANSWERS["serper"])[:-20]
    for first in (reply(status=429, headers={"Retry-After": "0"}), reply(status=500), cut, b""):
        with serving(answering(first, body(ANSWERS["serper"]))) as server:
            [found] = live_search("serper", endpoint=server.url).search(["q"], 1)
        assert found == [FOUND] and len(server.requests) == 2


def test_retry_after_is_obeyed():
    times = []

    def answer(connection, path, number):
        times.append(time.monotonic())
        connection.sendall(reply(status=429, headers={"Retry-After": "1"}) if number == 1 else body(ANSWERS["serper"]))

    with serving(answer) as server:
        live_search("serper", endpoint=server.url).search(["q"], 1)
    assert times[1] - times[0] >= 1


def test_an_endless_retry_after_ends_the_search():
    with serving(answering(reply(status=429, headers={"Retry-After": "9" * 400}))) as server:
        with pytest.raises(SearchFailed):
            live_search("serper", endpoint=server.url).search(["q"], 1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("raw", "tries", "message"),
    [
        (reply(status=500), 2, "trouble .status 500"),
        (reply(status=429, headers={"Retry-After": "999"}), 1, "trouble .status 429"),
        (reply(status=401), 1, "is the key right"),
        (reply(status=403), 1, "is the key right"),
        (reply(status=302, headers={"Location": "http://127.0.0.1/"}), 1, "refused the search"),
        (reply(b"<html>", status=200), 1, "no JSON"),
        (reply(b"[" * 100_000, status=200), 1, "no JSON"),
        (b"", 2, "connection failed"),
    ],
)
def test_lasting_failures_are_reported_without_the_key(raw, tries, message):
    with serving(answering(raw)) as server, pytest.raises(SearchFailed, match=message) as failure:
        live_search("serpapi", endpoint=server.url, tries=2).search(["q"], 1)
    assert len(server.requests) == tries
    error = failure.value
    while error is not None:
        assert SECRET not in str(error) and SECRET not in repr(error)
        error = error.__cause__


def test_searxng_without_json_says_what_to_do():
    with serving(answering(reply(status=403))) as server, pytest.raises(SearchFailed, match=r"search\.formats"):
        live_search("searxng", endpoint=server.url).search(["q"], 1)


def test_the_total_time_is_limited():
    def drip(connection, path, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    with serving(drip) as server, pytest.raises(SearchFailed, match="too long"):
        live_search("serper", endpoint=server.url, seconds=0.6).search(["a", "b", "c", "d", "e", "f"], 1)


def test_keys_are_never_shown_logged_or_pickled(caplog):
    caplog.set_level(logging.DEBUG)
    for service in LIVE_SERVICES:
        with serving(answering(reply(status=500), body(ANSWERS[service]))) as server:
            search = live_search(service, endpoint=server.url)
            search.search(["q"], 1)
        assert SECRET not in repr(search) and SECRET.encode() not in pickle.dumps(search)
        assert pickle.loads(pickle.dumps(search)) == search
    assert SECRET not in caplog.text


def test_settings_are_checked(monkeypatch):
    with pytest.raises(ConfigError, match="did you mean 'serper'"):
        LiveSearch("sepper")
    with pytest.raises(ConfigError, match="SEARXNG_URL"):
        LiveSearch("searxng")
    monkeypatch.setenv("SEARXNG_URL", "http://127.0.0.1:1")
    assert LiveSearch("searxng").endpoint == ""
    with pytest.raises(ConfigError, match="seconds"):
        LiveSearch("serper", seconds=0)
    monkeypatch.setenv("GOOGLE_SEARCH_KEY", "a\nb")
    with pytest.raises(ConfigError, match="outside ASCII"):
        LiveSearch("serper")
    monkeypatch.delenv("GOOGLE_SEARCH_KEY")
    with pytest.raises(ConfigError, match="SERPER_API_KEY or SERPER_KEY_ID or GOOGLE_SEARCH_KEY"):
        LiveSearch("serper")
