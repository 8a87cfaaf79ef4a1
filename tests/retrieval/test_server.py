"""The server as its clients see it, over real sockets; the contract is that of Search-R1 (and ASearcher's /access)."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from empg_gym.errors import ConfigError
from empg_gym.net.server import BackgroundServer, ServerLimits, listen, make_server
from empg_gym.retrieval import open_corpus
from empg_gym.retrieval.backends import LocalRetriever, SearchFailed
from empg_gym.retrieval.remote import RemoteRetriever
from empg_gym.retrieval.replies import PIECE
from empg_gym.retrieval.server import Limits, create_app

ROWS = [
    {
        "id": str(number),
        "contents": f'"Town {number}"\nTown {number} lies on the river r{number % 7}.',
        "url": f"https://c.local/{number // 2}",
    }
    for number in range(60)
] + [{"id": "x", "title": "Extra", "text": "A record with other members.", "source": "here"}]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return open_corpus(folder / "corpus.jsonl", cache=folder)


@contextmanager
def serving(app, **limits):
    server = BackgroundServer(make_server(app, limits=ServerLimits(**limits), log_level="error"), listen("127.0.0.1", 0))
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.close()


@pytest.fixture(scope="module")
def address(corpus):
    with serving(create_app(corpus)) as address:
        yield address


def post(address, path, body):
    return httpx.post(address + path, json=body, timeout=300, trust_env=False)


def test_retrieve_with_scores(address):
    answer = post(address, "/retrieve", {"queries": ["river r3", "town 12"], "topk": 2, "return_scores": True})
    assert answer.status_code == 200
    first, second = answer.json()["result"]
    assert [entry["document"]["id"] for entry in first] == ["10", "17"]
    assert second[0]["document"] == {**ROWS[12], "title": "Town 12", "text": ROWS[12]["contents"].partition("\n")[2]}
    assert all(set(entry) == {"document", "score"} and entry["score"] > 0 for entry in first + second)


def test_retrieve_without_scores_gives_bare_documents(address):
    for body in (
        {"queries": "other members"},
        {"queries": ["other members"], "topk": None, "return_scores": False},
        {"queries": ["other members"], "topk": 0},
    ):
        [found] = post(address, "/retrieve", body).json()["result"]
        assert found == [{**ROWS[60], "contents": '"Extra"\nA record with other members.'}]
    assert len(post(address, "/retrieve", {"queries": "town"}).json()["result"][0]) == 3, "the default of topk"
    assert post(address, "/retrieve", {"queries": []}).json() == {"result": []}
    assert post(address, "/retrieve", {"queries": ["", "nowhere"]}).json() == {"result": [[], []]}


def test_access_and_health(address, corpus):
    result = post(address, "/access", {"urls": ["https://c.local/3", "https://elsewhere/", ""]}).json()["result"]
    assert result[0]["contents"].startswith('"Town 6"\nTown 6 lies') and "Town 7 lies" in result[0]["contents"]
    assert result[0]["url"] == "https://c.local/3" and result[1:] == [None, None]
    health = httpx.get(address + "/health", trust_env=False).json()
    assert health == {"status": "ok", "passages": 61, "fingerprint": corpus.fingerprint, "engine": "LocalRetriever", "waiting": 0}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/retrieve", b"{", 400),
        ("/retrieve", b"[" * 100_000, 400),
        ("/retrieve", b"[1]", 400),
        ("/retrieve", b"{}", 400),
        ("/retrieve", b'{"queries": [1]}', 400),
        ("/retrieve", b'{"queries": {"a": 1}}', 400),
        ("/retrieve", b'{"queries": "a", "topk": 101}', 400),
        ("/retrieve", b'{"queries": "a", "topk": -1}', 400),
        ("/retrieve", b'{"queries": "a", "topk": "3"}', 400),
        ("/retrieve", b'{"queries": "a", "topk": true}', 400),
        ("/retrieve", b'{"queries": "a", "return_scores": "yes"}', 400),
        ("/retrieve", json.dumps({"queries": ["a"] * 513}).encode(), 400),
        ("/retrieve", json.dumps({"queries": "a" * 20_001}).encode(), 400),
        ("/retrieve", b" " * (5 << 20), 413),
        ("/access", b'{"urls": 3}', 400),
        ("/retrieve", b'{"queries": "\\ud800 town \\u0000", "topk": 1}', 200),
        ("/retrieve", json.dumps({"queries": ["town river"] * 512, "topk": 1}).encode(), 200),
        ("/nowhere", b"{}", 404),
    ],
)
def test_limits_and_bad_requests_are_answered(address, path, body, status):
    answer = httpx.post(address + path, content=body, timeout=300, trust_env=False)
    assert answer.status_code == status
    if status in (400, 413):
        assert set(answer.json()) == {"error"}


def test_a_body_without_an_end_is_cut_off(address):
    host, port = address.removeprefix("http://").split(":")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with socket.create_connection((host, int(port)), timeout=10) as endless:
        endless.sendall(b"POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for sent in range(1 << 14):  # noqa: B007
                endless.sendall(chunk)
        except OSError:
            pass
    assert sent < 2000, "the server hung up after some of the 1 GB"
    assert post(address, "/retrieve", {"queries": "town"}).status_code == 200


def test_64_connections_get_their_own_answers(address):
    def work(number):
        with httpx.Client(trust_env=False, timeout=300) as client:
            for turn in range(4):
                wanted = (number * 4 + turn) % 60
                body = {"queries": [f"town {wanted}", f"river r{wanted % 7}"], "topk": 1, "return_scores": True}
                found = client.post(address + "/retrieve", json=body).json()["result"]
                assert found[0][0]["document"]["id"] == str(wanted)
                assert f"r{wanted % 7}." in found[1][0]["document"]["contents"]
        return number

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(work, range(64))) == list(range(64))
    assert httpx.get(address + "/health", trust_env=False).json()["waiting"] == 0


@pytest.mark.parametrize("scored", [False, True])
def test_a_long_reply_comes_in_pieces_and_whole(address, corpus, scored):
    queries = [f"river r{number % 7} town {number % 60}" for number in range(400)]
    reply = post(address, "/retrieve", {"queries": queries, "topk": 20, "return_scores": scored})
    assert "content-length" not in reply.headers and len(reply.content) > 8 * PIECE
    found = reply.json()["result"]
    ids = [[(entry["document"] if scored else entry)["id"] for entry in entries] for entries in found]
    assert ids == [[passage.id for passage in passages] for passages in LocalRetriever(corpus).search(queries, 20)]
    for place in (0, 123, 399):
        alone = post(address, "/retrieve", {"queries": queries[place], "topk": 20, "return_scores": scored})
        assert "content-length" in alone.headers and alone.json()["result"] == [found[place]]
    pages = post(address, "/access", {"urls": [f"https://c.local/{number % 30}" for number in range(500)] * 4})
    assert pages.status_code == 400
    pages = post(address, "/access", {"urls": ["https://c.local/3", "https://elsewhere/"] * 256})
    assert pages.json()["result"] == [{**pages.json()["result"][0], "url": "https://c.local/3"}, None] * 256


def test_a_reply_of_too_many_documents_is_refused_as_a_whole(corpus):
    limits = Limits(max_stored=len(corpus.records.raw(0)) * 3)
    with serving(create_app(corpus, limits=limits)) as address:
        assert post(address, "/retrieve", {"queries": "town", "topk": 2}).status_code == 200
        refused = post(address, "/retrieve", {"queries": ["town"] * 2, "topk": 2})
        assert refused.status_code == 400 and "bytes of documents" in refused.json()["error"]
        assert post(address, "/access", {"urls": ["https://c.local/3"]}).status_code == 200
        assert post(address, "/access", {"urls": ["https://c.local/3"] * 2}).status_code == 400


def test_clients_that_never_read_hold_a_piece_each(corpus):
    """Their replies have 12 pieces each."""
    body = json.dumps({"queries": ["town river"] * 512, "topk": 20}).encode()
    request = f"POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    server = make_server(create_app(corpus), limits=ServerLimits(send_seconds=300.0), log_level="error")
    running, opened = BackgroundServer(server, listen("127.0.0.1", 0)), []
    try:
        for _ in range(4):
            opened.append(socket.socket())
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            opened[-1].settimeout(300)
            opened[-1].connect(("127.0.0.1", running.port))
            opened[-1].sendall(request)
        most, stalled, deadline = 0, 0, time.monotonic() + 300
        while stalled < 4 and time.monotonic() < deadline:
            connections = list(server.server_state.connections)
            most = max(most, server.config.app._ledger.held + sum(one.transport.get_write_buffer_size() for one in connections))
            stalled = sum(one.flow.write_paused for one in connections)
            time.sleep(0.01)
        assert stalled == 4 and most <= 4 * (4 * PIECE)
        assert post(f"http://127.0.0.1:{running.port}", "/retrieve", {"queries": "town"}).status_code == 200
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += opened[0].recv(1 << 20)
        assert len(received) > 10 * PIECE, "one that reads late gets the whole reply"
    finally:
        for one in opened:
            one.close()
        running.close()


class Blocked(LocalRetriever):
    """Searches only once it is released; counts how many searches run at once."""

    release = threading.Event()
    running = 0
    most = 0

    def search(self, queries, k):
        Blocked.running += 1
        Blocked.most = max(Blocked.most, Blocked.running)
        assert self.release.wait(60)
        Blocked.running -= 1
        return super().search(queries, k)


def test_load_is_bounded(corpus):
    """64 clients at once, 8 places: no more concurrent work than threads, the rest is refused with Retry-After, and nothing hangs."""
    with serving(create_app(corpus, Blocked(corpus), Limits(threads=2, max_waiting=8))) as address, ThreadPoolExecutor(64) as pool:
        requests = [pool.submit(post, address, "/retrieve", {"queries": "town", "topk": 1}) for _ in range(64)]
        refused = [request.result() for request in itertools.islice(as_completed(requests, timeout=300), 56)]
        Blocked.release.set()
        assert [answer.status_code for answer in refused] == [503] * 56
        assert all(answer.headers["Retry-After"] for answer in refused)
        assert sorted(request.result().status_code for request in requests) == [200] * 8 + [503] * 56
        assert Blocked.most == 2
        assert post(address, "/retrieve", {"queries": "town", "topk": 1}).status_code == 200


def test_a_request_that_never_arrives_gives_its_place_back(corpus):
    with serving(create_app(corpus, limits=Limits(max_waiting=1)), body_seconds=0.2) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as hanging:
            hanging.sendall(b"POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
            assert b" 408 " in hanging.recv(4096)
        assert post(address, "/retrieve", {"queries": "town"}).status_code == 200


def test_the_client_reads_the_server(address, corpus):
    local = LocalRetriever(corpus)
    queries = ["river r3", "nowhere", "other members"]
    for url in (address, address + "/", address + "/retrieve"):
        assert RemoteRetriever(url).search(queries, 2) == local.search(queries, 2)
    assert RemoteRetriever(address).search([], 2) == []
    with pytest.raises(SearchFailed, match="refused"):
        RemoteRetriever(address).search(["town"], 1000)
    with pytest.raises(ConfigError, match="http"):
        RemoteRetriever("localhost:8000")


def test_the_command_builds_serves_and_ends(tmp_path):
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    code = "import sys; from empg_gym.cli.serve import app; app()"
    arguments = ["retrieval", "--corpus", str(tmp_path / "corpus.jsonl"), "--port", "0", "--cache", str(tmp_path), "--topk", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "COLUMNS": "200"},
    )
    try:
        for line in process.stderr:
            if found := re.search(r"serving 61 passages on (http://127\.0\.0\.1:\d+)/retrieve", line):
                break
        else:
            pytest.fail("the server did not start")
        address = found[1]
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                assert len(post(address, "/retrieve", {"queries": "town"}).json()["result"][0]) == 2
                break
            except httpx.ConnectError:
                time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(300)
        process.stderr.close()
