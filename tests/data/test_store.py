"""Sets as a whole: fetched, checked, handed over, trusted on first use."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import zipfile

import pytest

from empg_gym.data.registry import DataFile, DataSet, find_set, official_sets, read_registry
from empg_gym.data.store import DataStore
from empg_gym.errors import DataError, TaskError
from tests.data.server import Route, serving

TEXT = b'{"id": "q0", "question": "?", "golden_answers": ["a"]}\n'


def archive(entries=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, body in (entries or {"json_2.1.1/train/game.tw-pddl": b"{}", "json_2.1.1/valid/game.tw-pddl": b"[]"}).items():
            packed.writestr(zipfile.ZipInfo(name), body)
    return buffer.getvalue()


@pytest.fixture
def server():
    with serving() as server:
        yield server


def sample(server, *, packed=None, checksum=True):
    packed = packed or archive()
    server.routes |= {"/games.zip": Route(packed), "/dev.jsonl": Route(TEXT)}
    digest = hashlib.sha256(packed).hexdigest() if checksum else None
    files = (
        DataFile(name="games.zip", urls=(server.url("/games.zip"),), size=len(packed), sha256=digest, unpack="zip"),
        DataFile(name="dev.jsonl", urls=(server.url("/dev.jsonl"),)),
    )
    return DataSet(name="sample", title="t", benchmark="b", licence="MIT", terms="x", homepage="h", use="u", files=files)


def test_a_set_is_fetched_unpacked_recorded_and_verified(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    assert store.path(data_set) is None and store.fingerprint(data_set) is None
    folder = store.get(data_set)
    assert folder == tmp_path / "sample" == store.path(data_set)
    assert (folder / "json_2.1.1" / "train" / "game.tw-pddl").read_bytes() == b"{}"
    assert (folder / "dev.jsonl").read_bytes() == TEXT and not (folder / "games.zip").exists()
    checked = store.verify(data_set)
    assert checked.files == 3 and checked.problems == () and checked.first_use == ("dev.jsonl",)
    assert len(store.fingerprint(data_set)) == 12
    asked = len(server.asked)
    store.get(data_set)
    assert len(server.asked) == asked, "what is here is not fetched again"
    assert not (tmp_path / ".downloads" / "sample").exists()


def test_what_was_changed_or_lost_is_named(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    folder = store.get(data_set)
    (folder / "dev.jsonl").write_bytes(TEXT.replace(b"a", b"b"))
    (folder / "json_2.1.1" / "train" / "game.tw-pddl").unlink()
    (folder / "json_2.1.1" / "valid" / "game.tw-pddl").write_bytes(b"[1]")
    problems = store.verify(data_set).problems
    assert [problem.split(" ", 1) for problem in problems] == [
        ["dev.jsonl", "differs from the downloaded file"],
        ["json_2.1.1/train/game.tw-pddl", "is missing"],
        ["json_2.1.1/valid/game.tw-pddl", "has 3 bytes, expected 2"],
    ]
    store.get(data_set, again=True)
    assert store.verify(data_set).problems == ()


def test_a_file_that_was_trusted_on_first_use_is_held_to_it(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    store.get(data_set)
    server.routes["/dev.jsonl"] = Route(TEXT + b"{}\n", etag='"two"')
    with pytest.raises(DataError, match="other content") as refused:
        store.get(data_set, again=True)
    assert "empg-gym data get sample --new-edition" in str(refused.value)
    assert store.verify(data_set).problems == (), "the set that was here stays"
    (tmp_path / "dev.jsonl").write_bytes(TEXT + b"\n")
    (tmp_path / "games.zip").write_bytes(archive())
    with pytest.raises(DataError, match=r"is not the expected dev\.jsonl.* --new-edition"):
        store.get(data_set, sources=[tmp_path], again=True)

    folder = store.get(data_set, new_edition=True)
    assert (folder / "dev.jsonl").read_bytes() == TEXT + b"{}\n"
    assert store.verify(data_set).problems == () and store.verify(data_set).first_use == ("dev.jsonl",)
    store.get(data_set, again=True)


def test_a_new_edition_is_still_held_to_the_registry(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    store.get(data_set)
    server.routes["/games.zip"] = Route(bytes(len(archive())), etag='"two"')
    with pytest.raises(DataError, match="other content") as refused:
        store.get(data_set, new_edition=True)
    assert "--new-edition" not in str(refused.value)


def test_files_are_handed_over_without_a_network(tmp_path, server):
    data_set = sample(server)
    server.routes.clear()
    given = tmp_path / "given"
    given.mkdir()
    (given / "games.zip").write_bytes(archive())
    store = DataStore(tmp_path / "root")
    with pytest.raises(DataError, match=r"does not contain dev.jsonl"):
        store.get(data_set, sources=[given])
    (tmp_path / "dev.jsonl").write_bytes(TEXT)
    folder = store.get(data_set, sources=[given, tmp_path / "dev.jsonl"])
    assert (folder / "dev.jsonl").read_bytes() == TEXT and server.asked == []
    assert (given / "games.zip").is_file(), "what was handed over is copied"
    (given / "games.zip").write_bytes(archive({"other": b"x"}))
    with pytest.raises(DataError, match=r"is not the expected games\.zip"):
        store.get(data_set, sources=[given, tmp_path / "dev.jsonl"], again=True)
    assert store.verify(data_set).problems == ()


def test_an_archive_that_reaches_out_leaves_no_set(tmp_path, server):
    data_set = sample(server, packed=archive({"fine": b"x", "../../evil": b"y"}))
    store = DataStore(tmp_path / "root")
    with pytest.raises(DataError, match="would leave its folder"):
        store.get(data_set)
    assert store.path(data_set) is None and not list(tmp_path.rglob("evil"))


def test_one_process_at_a_time(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    (tmp_path / ".downloads").mkdir()
    with (tmp_path / ".downloads" / "sample.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading sample"):
            store.get(data_set)


def test_a_disk_that_is_too_small_is_told_before(tmp_path, server):
    data_set = sample(server)
    huge = data_set.files[0].model_copy(update={"size": 10**18})
    with pytest.raises(DataError, match="EMPG_GYM_CACHE"):
        DataStore(tmp_path).get(data_set.model_copy(update={"files": (huge,)}))
    assert server.asked == []


def test_a_damaged_record_is_told(tmp_path, server):
    store, data_set = DataStore(tmp_path), sample(server)
    store.get(data_set)
    (tmp_path / "lock.json").write_text("{")
    with pytest.raises(DataError, match=r"lock.json is damaged"):
        store.path(data_set)


def test_the_registry_of_this_release():
    sets = official_sets()
    assert {"alfworld-2.1.1", "alfworld-2.1.3", "webshop-small", "webshop-full", "hotpotqa", "wiki-18"} <= sets.keys()
    for data_set in sets.values():
        assert data_set.licence and data_set.terms and "PATH" in data_set.use
        assert len({file.name for file in data_set.files}) == len(data_set.files)
        for file in data_set.files:
            assert all(url.startswith("https://") for url in file.urls)
        if data_set.benchmark in ("ALFWorld", "WebShop"):
            assert all(file.sha256 and file.size for file in data_set.files)
    with pytest.raises(TaskError, match="did you mean 'webshop-small'"):
        find_set("webshop-smal")


def test_a_registry_with_an_unsafe_name_is_refused():
    entry = 'title="t"\nbenchmark="b"\nlicence="l"\nterms="t"\nhomepage="h"\nuse="u"\n[[x.files]]\nname={}\nurls=["https://a/b"]\n'
    assert read_registry("[x]\n" + entry.format('"fine.zip"'))["x"].files[0].name == "fine.zip"
    for name in ('"../evil"', '"/evil"', '".."'):
        with pytest.raises(DataError, match="registry"):
            read_registry("[x]\n" + entry.format(name))
    assert json.dumps(sorted(official_sets()))
