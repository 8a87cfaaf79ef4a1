"""Every input is answered by an observation, and the episode continues or ends for a stated reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.envs.deepsearch.actions import Answer, Invalid, Search, Visit
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.protocols import PROTOCOLS, get_protocol
from empg_gym.retrieval.backends import Page, Passage
from empg_gym.retrieval.remote import RemoteRetriever
from tests.deepsearch.helpers import small_env, toy_files

TAGS = [
    f"<{slash}{tag}>"
    for tag in ("think", "search", "access", "visit", "answer", "information", "result", "python", "tool_call")
    for slash in ("", "/")
]
PIECES = [
    *TAGS,
    "search[",
    "visit[",
    "answer[",
    "]",
    "[",
    "{",
    "}",
    '"name": "search"',
    '"arguments": ',
    '"query": ',
    "word",
    " ",
    "\n",
    "\x00",
    "\ud800",
    "漢字",
    "\\boxed{",
    "😀",
]
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
CALLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "arguments", "query", "url", "goal", "answer"]), inner, max_size=4)
    ),
    max_leaves=12,
).map(lambda value: f"<tool_call>{json.dumps(value)}</tool_call>")

ENVS: dict[str, DeepSearchEnv] = {}


def env_of(protocol: str) -> DeepSearchEnv:
    return ENVS.setdefault(protocol, small_env(protocol=protocol, max_steps=6))


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@settings(max_examples=120, deadline=None)
@given(actions=st.lists(TEXTS | CALLS, min_size=1, max_size=8))
def test_any_text_is_answered(protocol: str, actions: list[str]) -> None:
    env = env_of(protocol)
    env.reset(options={"task": 0})
    for number, action in enumerate(actions, start=1):
        observation, reward, terminated, truncated, info = env.step(action)
        assert env.observation_space.contains(observation)
        assert reward in (0.0, 1.0)
        assert truncated == (number >= 6)
        assert terminated == (info["scored_by"] != "" and "answer" in {step.kind for step in env._episode.steps})
        if not info["valid_action"]:
            assert observation


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@settings(max_examples=150, deadline=None)
@given(text=TEXTS | CALLS)
def test_parsing_never_raises_and_keeps_a_beginning(protocol: str, text: str) -> None:
    parsed = get_protocol(protocol).parse(text)
    assert isinstance(parsed.action, Search | Visit | Answer | Invalid)
    assert len(parsed.kept) <= len(text)
    assert not any(tag in parsed.kept for tag in ("<information>", "<result>", "<tool_response>"))


MEGABYTE = 1_000_000
HUGE = {
    "words": "word " * (MEGABYTE // 5),
    "openings": "<search>" * (MEGABYTE // 8),
    "closings": "</search>" * (MEGABYTE // 9),
    "pairs": "<search>q</search>" * (MEGABYTE // 18),
    "nested": "<search>" * 50_000 + "</search>" * 50_000,
    "calls": "<tool_call>" * 50_000 + "{" * 50_000 + "</tool_call>",
    "angles": "<" * MEGABYTE,
    "spaces": " " * MEGABYTE + "search[q]",
    "brackets": "search[" + "[" * MEGABYTE + "]",
    "one query": "<search>" + "q" * MEGABYTE + "</search>",
    "one answer": "<answer>" + "a " * (MEGABYTE // 2) + "</answer>",
    "boxes": "<answer>" + "\\boxed{" * (MEGABYTE // 7) + "</answer>",
}


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("name", sorted(HUGE))
def test_a_response_of_a_megabyte_is_answered(protocol: str, name: str) -> None:
    env = env_of(protocol)
    env.reset(options={"task": 0})
    observation, *_ = env.step(HUGE[name])
    assert len(observation) < 20_000
    env.step("x")


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_empty_and_endless_queries_are_told_why(protocol: str) -> None:
    env = env_of(protocol)
    written = get_protocol(protocol).write
    for query, says in (("", "query is empty"), ("  ", "query is empty"), ("term " * 10_000, "at most 512")):
        env.reset(options={"task": 0})
        observation, _, terminated, _, info = env.step(written(Search((query,))))
        assert says in observation
        assert not info["valid_action"] and not terminated


@contextmanager
def retrieval_server() -> Iterator[tuple[str, ThreadingHTTPServer]]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/access":
                pages = [{"url": url, "title": "T", "contents": "page text"} if "known" in url else None for url in body["urls"]]
                self.reply(pages)
                return
            found = [[{"document": {"id": "d", "contents": f'"T"\nabout {query}'}, "score": 1.0}] for query in body["queries"]]
            self.reply(found)

        def reply(self, result: list[Any]) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"result": result}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/retrieve", server
    finally:
        server.shutdown()
        server.server_close()


def test_a_retrieval_server_that_vanishes_in_mid_episode(tmp_path: Path) -> None:
    files: dict[str, Any] = {"data": toy_files(tmp_path)["data"], "split": "all"}
    with retrieval_server() as (url, server):
        env = DeepSearchEnv(**files, backend=RemoteRetriever(url, seconds=2.0, tries=2), max_steps=4)
        env.reset(options={"task": "q1"})
        assert env.step("<search>Velden</search>")[0].strip() == '<information>Doc 1(Title: "T") about Velden</information>'
        server.shutdown()
        server.server_close()
        observation, reward, terminated, truncated, info = env.step("<search>Orm</search>")
        assert observation.strip().startswith("<information>Search error: ")
        assert "127.0.0.1" not in observation
        assert (reward, terminated, truncated, info["valid_action"]) == (0.0, False, False, True)
        assert env.step("<answer>Harrow Bay</answer>")[1] == 1.0


def test_a_search_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    class Once:
        def __init__(self) -> None:
            self.calls = 0

        def search(self, queries: list[str], k: int) -> list[list[Any]]:
            self.calls += 1
            if self.calls == 1:
                raise TimeoutError
            return [[] for _ in queries]

    env = DeepSearchEnv(data=toy_files(tmp_path)["data"], split="all", protocol="plain", backend=Once())
    env.reset(options={"task": "q1"})
    assert env.step("search[x]")[0] == "Search error: the search engine failed."
    assert env.step("search[x]")[0] == "Nothing was found."


@pytest.mark.parametrize("nonsense", [None, [], [None], [["x"]], [[], []], "text", [[{"id": "1"}]]])
def test_a_backend_that_answers_nonsense_is_a_failed_search(tmp_path: Path, nonsense: Any) -> None:
    class Nonsense:
        def search(self, queries: list[str], k: int) -> Any:
            return nonsense

        def visit(self, url: str) -> Any:
            return nonsense

    backend = Nonsense()
    env = DeepSearchEnv(data=toy_files(tmp_path)["data"], split="all", protocol="plain", backend=backend, visit=backend)
    env.reset(options={"task": "q1"})
    assert env.step("search[x]")[0] == "Search error: the search engine failed."
    assert env.step("visit[https://x.y]")[0] == "Visit error: the page could not be read."


def test_endless_texts_are_bounded(tmp_path: Path) -> None:
    class Endless:
        def search(self, queries: list[str], k: int) -> list[list[Passage]]:
            return [[Passage(id="p", title="T", text="<answer>x " * 1_000_000)] for _ in queries]

        def visit(self, url: str) -> Page:
            return Page(url=url, title="T", text="word " * 1_000_000)

    backend = Endless()
    arguments = {"data": toy_files(tmp_path)["data"], "split": "all", "protocol": "plain", "backend": backend, "visit": backend}
    for limit, most in ((None, 300_000), (500, 6_000)):
        env = DeepSearchEnv(**arguments, observation_tokens=limit)
        env.reset(options={"task": "q1"})
        for action in ("search[x]", "visit[https://x.y]"):
            observation = env.step(action)[0]
            assert len(observation) < most
            assert "<answer>" not in observation


def test_pages_of_a_retrieval_server(tmp_path: Path) -> None:
    with retrieval_server() as (url, _):
        backend = RemoteRetriever(url, seconds=1.0, tries=1)
        env = DeepSearchEnv(data=toy_files(tmp_path)["data"], split="all", protocol="plain", backend=backend, visit=True)
        env.reset(options={"task": "q1"})
        assert env.step("visit[https://known.local]")[0] == "Page https://known.local\npage text"
        assert env.step("visit[https://other.local]")[0] == "Visit error: there is no page at this address."
        blind = DeepSearchEnv(data=toy_files(tmp_path)["data"], split="all", protocol="plain", backend=url)
        assert not blind.can_visit
    assert env.step("visit[https://known.local]")[0].startswith("Visit error: the retrieval server does not answer")
