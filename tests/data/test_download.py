"""Downloads against a server that cuts off, ignores ranges, changes its files or gives something else."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from empg_gym.data.download import fetch
from empg_gym.data.registry import DataFile
from empg_gym.errors import DataError
from tests.data.server import Route, serving

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


def test_a_file_comes_whole_and_leaves_nothing_beside_it(tmp_path, server):
    server.routes["/a"] = Route(BODY)
    told = []
    fetched = get(tmp_path, file(server, "/a"), progress=lambda done, total: told.append((done, total)))
    assert fetched.path.read_bytes() == BODY and fetched.sha256 == DIGEST
    assert told[0] == (0, len(BODY)) and told[-1] == (len(BODY), len(BODY))
    assert names(tmp_path) == ["set.bin"]


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[100_000, 400_000])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=400000-"]


def test_a_later_run_goes_on_with_what_an_earlier_one_left(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[300_000] * 9)
    with pytest.raises(DataError, match="what is there is kept"):
        get(tmp_path, file(server, "/a"), attempts=2)
    assert (tmp_path / "set.bin.part").stat().st_size == 300_000
    server.routes["/a"] = Route(BODY)
    server.asked.clear()
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == ["bytes=300000-"]


def test_a_server_without_ranges_sends_it_all_again(tmp_path, server):
    server.routes["/a"] = Route(BODY, ranges=False, cut_after=[650_000])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_begun_again(tmp_path, server):
    server.routes["/a"] = Route(OTHER, cut_after=[300_000] * 9, etag='"old"')
    with pytest.raises(DataError):
        get(tmp_path, file(server, "/a"), attempts=1)
    server.routes["/a"] = Route(BODY, etag='"new"')
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY


def test_a_part_of_another_edition_is_noticed_by_the_checksum(tmp_path, server):
    (tmp_path / "set.bin.part").write_bytes(OTHER[:1000])
    server.routes["/a"] = Route(BODY, etag=None)
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    assert server.ranges == ["bytes=1000-", None]


def test_mirrors_follow_where_an_address_fails_or_lies(tmp_path, server):
    server.routes["/lies"] = Route(OTHER)
    server.routes["/page"] = Route(b"<html>quota exceeded</html>")
    server.routes["/good"] = Route(BODY)
    fetched = get(tmp_path, file(server, "/gone", "/lies", "/page", "/good"))
    assert fetched.path.read_bytes() == BODY and fetched.url.endswith("/good")


def test_nothing_wrong_is_ever_kept_and_the_error_says_what_each_address_did(tmp_path, server):
    server.routes["/lies"] = Route(OTHER)
    server.routes["/page"] = Route(b"<html>quota exceeded</html>")
    with pytest.raises(DataError) as caught:
        get(tmp_path, file(server, "/gone", "/lies", "/page"))
    text = str(caught.value)
    assert "answered 404" in text and "other content" in text and "offers 27 bytes, expected 700,000" in text and "--from FILE" in text
    assert names(tmp_path) == []


def test_a_server_that_is_busy_is_asked_again(tmp_path, server):
    server.routes["/a"] = Route(BODY, failures=[503, 429, 500])
    assert get(tmp_path, file(server, "/a")).path.read_bytes() == BODY
    server.routes["/a"] = Route(BODY, failures=[403])
    with pytest.raises(DataError, match="answered 403"):
        get(tmp_path / "other", file(server, "/a"))


def test_without_a_checksum_bytes_of_two_editions_are_never_mixed(tmp_path, server):
    server.routes["/a"] = Route(OTHER, cut_after=[300_000] * 9, etag=None)
    server.routes["/b"] = Route(BODY, etag=None)
    fetched = get(tmp_path, file(server, "/a", "/b", known=False), attempts=2)
    assert fetched.path.read_bytes() == BODY and fetched.sha256 == DIGEST
    assert server.ranges == [None] * len(server.asked)


def test_without_a_checksum_a_named_edition_is_resumed(tmp_path, server):
    server.routes["/a"] = Route(BODY, cut_after=[300_000])
    assert get(tmp_path, file(server, "/a", known=False)).sha256 == DIGEST
    assert server.ranges == [None, "bytes=300000-"]
    assert json.loads(json.dumps(names(tmp_path))) == ["set.bin"]


def test_a_server_that_is_not_there_is_an_error_in_a_sentence(tmp_path):
    missing = DataFile(name="set.bin", urls=("http://127.0.0.1:9/none",))
    with pytest.raises(DataError, match="ConnectError"):
        get(tmp_path, missing, attempts=2)
