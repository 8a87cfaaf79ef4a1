"""Downloads from a server that cuts connections, ignores ranges, changes its files or sends other content."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from empg_gym.data.download import fetch
from empg_gym.data.registry import DataFile
from empg_gym.errors import DataError
from empg_gym.net.retry import RetryPolicy
from tests.data.server import Route, serving
from tests.net.endless import endless
from tests.net.test_body import ENDLESS

BODY = np.random.default_rng(0).bytes(700_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
OTHER = np.random.default_rng(1).bytes(700_000)


@pytest.fixture
def server():
    with serving() as server:
        yield server


def file(server, *paths, known=True):
    return DataFile(name="set.bin", urls=tuple(map(server.url, paths)), size=len(BODY) if known else None, sha256=DIGEST if known else None)


def get(tmp_path, data_file, **options):
    return fetch(data_file, tmp_path, sleep=lambda _seconds: None, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_complete_download_leaves_only_the_file(tmp_path, server):
    server.routes["/a"] = Route(BODY)
    reports = []
    fetched = get(tmp_path, file(server, "/a"), progress=lambda done, total: reports.append((done, total)))
    assert fetched.path.read_bytes() == BODY and fetched.sha256 == DIGEST
    assert reports[0] == (0, len(BODY)) and reports[-1] == (len(BODY), len(BODY))
    assert names(tmp_path) == ["set.bin"]


def test_an_interrupted_download_resumes_where_it_stopped(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[100_000, 400_000])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=400000-"]


def test_a_later_run_resumes_an_earlier_one(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[300_000] * 9)
    with pytest.raises(DataError, match="partial downloads are kept"):
        get(tmp_path, file(server, "/a"), retry=RetryPolicy(retries=1))
    assert (tmp_path / "set.bin.part").stat().st_size == 300_000
    server.routes["/a"] = Route(BODY)
    server.asked.clear()
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == ["bytes=300000-"]


def test_a_server_without_ranges_sends_everything_again(tmp_path, server):
    server.routes["/a"] = Route(BODY, ranges=False, cut_after=[650_000])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_downloaded_from_scratch(tmp_path, server):
    server.routes["/a"] = Route(OTHER, cut_after=[300_000] * 9, etag='"old"')
    with pytest.raises(DataError):
        get(tmp_path, file(server, "/a"), retry=RetryPolicy(retries=0))
    server.routes["/a"] = Route(BODY, etag='"new"')
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY


def test_the_checksum_detects_a_part_of_another_edition(tmp_path, server):
    (tmp_path / "set.bin.part").write_bytes(OTHER[:1000])
    server.routes["/a"] = Route(BODY, etag=None)
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == ["bytes=1000-", None]


def test_mirrors_are_tried_after_an_address_that_fails_or_lies(tmp_path, server):
    server.routes["/lies"] = Route(OTHER)
    server.routes["/page"] = Route(b"<html>quota exceeded</html>")
    server.routes["/good"] = Route(BODY)
    fetched = get(tmp_path, file(server, "/gone", "/lies", "/page", "/good"))
    assert fetched.path.read_bytes() == BODY and fetched.url.endswith("/good")


def test_wrong_content_is_discarded_and_the_error_lists_each_answer(tmp_path, server):
    server.routes["/lies"] = Route(OTHER)
    server.routes["/page"] = Route(b"<html>quota exceeded</html>")
    with pytest.raises(DataError) as caught:
        get(tmp_path, file(server, "/gone", "/lies", "/page"))
    text = str(caught.value)
    assert "answered 404" in text and "other content" in text and "offers 27 bytes, expected 700,000" in text and "--from FILE" in text
    assert names(tmp_path) == []


def test_a_busy_server_is_retried(tmp_path, server):
    server.routes["/a"] = Route(BODY, failures=[503, 429, 500])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    server.routes["/a"] = Route(BODY, failures=[403])
    with pytest.raises(DataError, match="answered 403"):
        get(tmp_path / "other", file(server, "/a"))


def test_without_a_checksum_two_editions_are_never_mixed(tmp_path, server):
    server.routes["/a"] = Route(OTHER, cut_after=[300_000] * 9, etag=None)
    server.routes["/b"] = Route(BODY, etag=None)
    fetched = get(tmp_path, file(server, "/a", "/b", known=False), retry=RetryPolicy(retries=1))
    assert fetched.path.read_bytes() == BODY and fetched.sha256 == DIGEST
    assert server.ranges == [None] * len(server.asked)


def test_without_a_checksum_a_named_edition_is_resumed(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[300_000])
    assert get(tmp_path, file(server, "/a", known=False)).sha256 == DIGEST
    assert server.ranges == [None, "bytes=300000-"]
    assert json.loads(json.dumps(names(tmp_path))) == ["set.bin"]


def test_an_unreachable_server_is_an_error_in_one_sentence(tmp_path):
    missing = DataFile(name="set.bin", urls=("http://127.0.0.1:9/none",))
    with pytest.raises(DataError, match="ConnectError"):
        get(tmp_path, missing, retry=RetryPolicy(retries=1))


def test_a_file_that_does_not_end_is_cut_off_at_its_known_size(tmp_path):
    """The server names no length: what is known about the file is the limit."""
    with endless(ENDLESS) as (address, sent), pytest.raises(DataError, match="sends more than the 1,000 bytes"):
        get(tmp_path, DataFile(name="data.bin", urls=(address,), size=1000))
    assert sent and all(count < ENDLESS // 2 for count in sent)
    assert not (tmp_path / "data.bin").exists()


def test_a_disk_without_room_is_reported_before_anything_is_written(tmp_path, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=(64 << 20) + 10))
    server.routes["/good"] = Route(BODY)
    with pytest.raises(DataError, match="free some space"):
        get(tmp_path, file(server, "/good"))
    assert not any(path.stat().st_size for path in tmp_path.glob("*.part"))
