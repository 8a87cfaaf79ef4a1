from __future__ import annotations

import json
import multiprocessing
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import DataError, OutputExistsError
from empg_gym.retrieval import BM25Index, DocumentStore
from empg_gym.retrieval.folders import build_once
from empg_gym.retrieval.strings import StringTable, write_order, write_strings


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8).filter(lambda text: text.isprintable()), st.integers() | st.text(max_size=20), max_size=12))
def test_records_come_back_by_ordinal_and_id(tmp_path_factory, rows):
    lines = [json.dumps({"id": name, "value": value}, ensure_ascii=False) for name, value in rows.items()]
    store = DocumentStore.build(lines, tmp_path_factory.mktemp("store") / "store")
    assert len(store) == len(rows) and list(store) == [json.loads(line) for line in lines]
    for ordinal, (name, value) in enumerate(rows.items()):
        assert store[ordinal] == {"id": name, "value": value}
        assert store.raw(ordinal).decode() == lines[ordinal]
        assert store.ordinal(name) == ordinal and store.id(ordinal) == name
    assert store.ordinal("x" * 9) is None
    assert list(pickle.loads(pickle.dumps(store))) == list(store)


def test_other_keys_numbers_and_blank_lines(tmp_path):
    store = DocumentStore.build([b'{"asin": 7, "a": [1]}\n', "", b" \n", '{"asin":"B0"}'], tmp_path / "store", key="asin")
    assert [store.id(0), store.id(1)] == ["7", "B0"] and store.ordinal("7") == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "record 0 is not JSON"),
        (['{"id": "a"}', "[]"], "record 1 needs the member 'id'"),
        (['{"id": true}'], "record 0 needs"),
        (['{"id": "a"}', '{"id": "b"}', '{"id": "a"}'], "records 0 and 2 have the same id 'a'"),
    ],
)
def test_damaged_records_are_named_and_leave_nothing(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        DocumentStore.build(lines, tmp_path / "store")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_stores_are_not_overwritten_and_damage_is_named(tmp_path):
    store = DocumentStore.build(['{"id": "a"}'], tmp_path / "store")
    with pytest.raises(OutputExistsError):
        DocumentStore.build([], tmp_path / "store")
    with pytest.raises(DataError, match="not a document store"):
        DocumentStore.open(tmp_path)
    (store.folder / "records.bytes").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        DocumentStore.open(store.folder)


def test_equal_strings_are_found_in_the_order_of_their_numbers(tmp_path):
    entries = [b"b", b"", b"a", b"b", b"", b"c"]
    write_strings(tmp_path, "t", entries)
    write_order(tmp_path, "t", entries, distinct=False)
    table = StringTable(tmp_path, "t")
    assert [list(table.find_all(entry)) for entry in (b"", b"a", b"b", b"c", b"d")] == [[1, 4], [2], [0, 3], [5], []]
    assert list(table) == entries
    with pytest.raises(IndexError):
        table[6]


def _build(folder, log, number):
    documents = [(str(place), f"word{place % 50} w{place}") for place in range(3000)]

    def build(target):
        with log.open("a") as handle:
            handle.write(f"{number}\n")
        BM25Index.build(documents, target / "index", processes=1)

    build_once(folder, build)
    index = BM25Index.open(folder / "index")
    with log.with_suffix(".done").open("a") as handle:
        handle.write(f"{index.fingerprint} {index.search('word7', 1)[0].id}\n")


def test_processes_that_build_together_build_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build, args=(tmp_path / "folder", log, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(log.read_text().split()) == 1
    results = log.with_suffix(".done").read_text().splitlines()
    assert len(results) == 4 and len(set(results)) == 1


def test_a_builder_that_fails_leaves_the_way_free(tmp_path):
    (tmp_path / ".folder.building").mkdir()
    (tmp_path / ".folder.building" / "rest").write_text("of a killed builder")

    def fail(target):
        assert list(target.iterdir()) == []
        (target / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "folder", fail)
    assert not (tmp_path / "folder").exists() and not (tmp_path / ".folder.building").exists()
    assert build_once(tmp_path / "folder", lambda target: None)
    assert not build_once(tmp_path / "folder", fail)
