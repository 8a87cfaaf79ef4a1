from __future__ import annotations

import json
import multiprocessing
import sqlite3
import time

import pytest

from empg_gym.envs.deepsearch.web import LiveSearch, Recorder, live_search
from empg_gym.envs.deepsearch.web.cache import NotRecorded
from empg_gym.envs.deepsearch.web.rate import Bucket
from empg_gym.errors import ConfigError, DataError
from empg_gym.retrieval.backends import SearchFailed
from tests.deepsearch_web.servers import answering, reply, serving


class Network:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return f"answer {self.calls}".encode()


def test_modes(tmp_path):
    path, network = tmp_path / "folder" / "record.db", Network()
    request = {"q": "a", "k": 3}
    off = Recorder()
    assert [off.fetch("p", request, network) for _ in range(2)] == [b"answer 1", b"answer 2"] and len(off) == 0
    record = Recorder("record", path)
    assert [record.fetch("p", request, network) for _ in range(2)] == [b"answer 3", b"answer 4"] and len(record) == 1
    replay = Recorder("replay", path)
    assert [replay.fetch("p", request, network) for _ in range(2)] == [b"answer 4"] * 2
    assert replay.fetch("p", {"q": "b", "k": 3}, network) == b"answer 5"
    only = Recorder("replay_only", path)
    assert only.fetch("p", {"k": 3, "q": "a"}, network) == b"answer 4", "the order of members does not matter"
    assert only.fetch("p", {"q": "b", "k": 3}, network) == b"answer 5"
    for provider, other in (("q", request), ("p", {"q": "a", "k": 4}), ("p", {"q": "A", "k": 3})):
        with pytest.raises(NotRecorded):
            only.fetch(provider, other, network)
    assert network.calls == 5
    with sqlite3.connect(path) as base:
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_failures_are_not_recorded(tmp_path):
    recorder = Recorder("replay", tmp_path / "record.db")

    def fail():
        raise SearchFailed("no")

    with pytest.raises(SearchFailed):
        recorder.fetch("p", {}, fail)
    assert recorder.fetch("p", {}, lambda: b"yes") == b"yes"


def test_settings_and_files_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'replay'"):
        Recorder("repley", tmp_path / "x.db")
    with pytest.raises(ConfigError, match="needs a file"):
        Recorder("record")
    with pytest.raises(DataError, match="no recording"):
        Recorder("replay_only", tmp_path / "absent.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as one" * 30)
    for mode in ("record", "replay", "replay_only"):
        with pytest.raises(DataError, match="can't be used"):
            Recorder(mode, tmp_path / "text.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (a)")
    with pytest.raises(DataError, match="can't be used"):
        Recorder("replay_only", tmp_path / "other.db")


def _work(path, number):
    recorder = Recorder("replay", path)
    for place in range(30):
        recorder.fetch("p", {"place": place}, lambda place=place: str(place).encode())
        recorder.fetch("p", {"number": number, "place": place}, lambda: b"own")


def test_processes_share_one_file(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(tmp_path / "record.db", number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    recorder = Recorder("replay_only", tmp_path / "record.db")
    assert len(recorder) == 30 + 3 * 30
    assert all(recorder.fetch("p", {"place": place}, Network()) == str(place).encode() for place in range(30))


def test_a_search_is_recorded_without_its_key_and_replayed_without_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SERPAPI_API_KEY", "sk-secret")
    answer = {"organic_results": [{"title": f"T{n}", "link": f"https://{n}.example/", "snippet": "S"} for n in range(9)]}
    path = tmp_path / "record.db"
    with serving(answering(reply(json.dumps(answer).encode()), reply(b"<html>"))) as server:
        found = live_search("serpapi", endpoint=server.url, cache="record", recording=path).search(["q"], 2)
        with pytest.raises(SearchFailed, match="no JSON"):
            live_search("serpapi", endpoint=server.url, cache="record", recording=path).search(["other"], 2)
    monkeypatch.delenv("SERPAPI_API_KEY")
    offline = live_search("serpapi", endpoint=server.url, cache="replay_only", recording=path)
    assert offline.search(["q"], 2) == found and len(found[0]) == 2
    for queries, k in ((["other"], 2), (["q"], 3)):
        with pytest.raises(SearchFailed, match="not recorded"):
            offline.search(queries, k)
    assert b"sk-secret" not in path.read_bytes() and b"api_key" not in path.read_bytes()
    assert isinstance(offline, LiveSearch)


def test_a_bucket_lets_a_burst_through_and_then_a_rate():
    bucket, start = Bucket(20.0, 3), time.monotonic()
    assert all(bucket.take(start + 10) for _ in range(7))
    assert time.monotonic() - start >= 4 / 20 - 0.001
    assert not bucket.take(time.monotonic()), "a slot after the deadline is not waited for"
    assert all(Bucket(None).take(0.0) for _ in range(100))
