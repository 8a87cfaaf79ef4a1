"""The client against other implementations of the server, and against servers that misbehave."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from empg_gym.retrieval import Passage
from empg_gym.retrieval.backends import SearchFailed
from empg_gym.retrieval.remote import RemoteRetriever, read_result


def test_all_forms_in_use_are_accepted():
    wanted = Passage("7", "Ada", "A potter.")
    contents = '"Ada"\nA potter.'
    forms = [
        {"document": {"id": "7", "contents": contents}, "score": 2},
        {"id": "7", "contents": contents},
        {"document": {"id": 7, "title": "Ada", "text": "A potter.", "contents": contents}},
        {"id": "7", "title": "Ada", "text": "A potter.", "url": None},
        {"document": {"id": "7", "contents": "Ada\nA potter."}, "score": None},
    ]
    found = read_result({"result": [[form] for form in forms]}, len(forms), 3)
    assert [passages[0].score for passages in found] == [2.0, None, None, None, None]
    assert {(p.id, p.title, p.text, p.url) for [p] in found} == {("7", wanted.title, wanted.text, "")}
    [[proxy]] = read_result({"result": [[{"document": {"contents": contents}}]]}, 1, 3)
    assert proxy == Passage("", "Ada", "A potter."), "search proxies send neither id nor score"
    [[plain]] = read_result({"result": [[{"document": contents, "score": 1.5}]]}, 1, 3)
    assert plain == Passage("", "Ada", "A potter.", "", 1.5)
    assert read_result({"result": [[forms[0]] * 9]}, 1, 3) == [[found[0][0]] * 3], "surplus passages are cut off"


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"result": {}}, {"result": []}, {"result": [1]}, {"result": [[1]]}, {"result": [[{"document": 3}]]}]
)
def test_other_replies_are_refused(answer):
    with pytest.raises(SearchFailed):
        read_result(answer, 1, 3)


@contextmanager
def misbehaving(*replies):
    """Run a server that sends `replies` in turn, repeating the last: (status, body, seconds to wait), or None to hang up."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = replies[min(len(seen), len(replies) - 1)]
            seen.append(body)
            if reply is None:
                self.close_connection = True
                return
            status, text, wait = reply
            time.sleep(wait)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/retrieve", seen
    finally:
        server.shutdown()
        server.server_close()


GOOD = (200, b'{"result": [[{"id": "1", "contents": "T\\nx"}]]}', 0)


def test_failures_are_retried():
    with misbehaving((503, b"", 0), None, GOOD) as (url, seen):
        assert RemoteRetriever(url).search(["q"], 2) == [[Passage("1", "T", "x")]]
    assert seen == [{"queries": ["q"], "topk": 2, "return_scores": True}] * 3


@pytest.mark.parametrize(
    ("reply", "tries", "message"),
    [
        ((500, b"", 0), 3, "status 500"),
        ((429, b"", 0), 3, "status 429"),
        (None, 3, "does not answer"),
        ((404, b"", 0), 1, "refused the search"),
        ((200, b"{", 0), 1, "no JSON"),
        ((200, b'{"result": 1}', 0), 1, "one list"),
    ],
)
def test_lasting_failures_are_reported(reply, tries, message):
    with misbehaving(reply) as (url, seen), pytest.raises(SearchFailed, match=message):
        RemoteRetriever(url).search(["q"], 2)
    assert len(seen) == tries


def test_a_slow_server_takes_at_most_the_time_limit():
    with misbehaving((200, b"{}", 1.0)) as (url, seen), pytest.raises(SearchFailed, match="does not answer"):
        RemoteRetriever(url, seconds=0.2).search(["q"], 2)
    assert len(seen) == 1
    with pytest.raises(SearchFailed, match="connection failed"):
        RemoteRetriever(url, seconds=2).search(["q"], 2)
