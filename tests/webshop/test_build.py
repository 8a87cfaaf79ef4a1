"""Stores: their contents, interrupted builds, and concurrent builds."""

import json
import multiprocessing
import os

import pytest

from empg_gym.envs.webshop import build
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.store import ProductStore
from empg_gym.errors import ConfigError, DataError
from tests.webshop.records import codes, official, record, write_official


def products_of(folder):
    return list(ProductStore(folder / "products.sqlite"))


def test_records_become_products(tmp_path):
    first, second, third = codes(3)
    data = write_official(
        tmp_path,
        [
            record(first),
            record("nan"),
            record("MUCHTOOLONG"),
            record(first, name="again"),
            record(second, pricing="$9.99 - $24.99 (sale $1)", small_description="one line", customization_options=""),
            record(third, pricing=""),
        ],
        mined={first: {"attributes": [], "instruction": "Find me", "instruction_attributes": ["x"]}, third: {"attributes": ["a"]}},
    )
    one, two, three = products_of(build.open_store(data, None))
    assert (one.asin, one.title, one.query, one.price, one.pricing) == (first, f"Plain Mug {first}", "mugs", "$12.99", (12.99,))
    assert one.options == (("color", ("red | blue", "green")),)
    assert one.attributes == ()
    assert one.document == f"plain mug {first.lower()} a mug of stoneware. holds 12 oz color: red | blue, green"
    assert (two.price, two.pricing, two.bullets, two.attributes) == ("$9.99 to $24.99", (9.99, 24.99), ("one line",), ("DUMMY_ATTR",))
    assert (three.price, three.pricing, three.instruction) == ("$100.0", (100.0,), None)


def test_official_is_the_downloaded_set(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="found no WebShop; run `empg-gym data get webshop-small`"):
        WebShopEnv(data="official")
    root = tmp_path / "data"
    write_official(root / "webshop-full", [record(f"B{number:09}") for number in range(30)])
    (root / "lock.json").write_text(json.dumps({"webshop-full": {}}))
    env = WebShopEnv("all", data="official")
    assert env.fingerprint == WebShopEnv("all", data=root / "webshop-full").fingerprint
    write_official(root / "webshop-small", [record("B000000000")])
    (root / "lock.json").write_text(json.dumps({"webshop-full": {}, "webshop-small": {}}))
    with pytest.raises(ConfigError, match=r"choose one: data='.*webshop-small' \(webshop-small\), data='.*webshop-full'"):
        WebShopEnv(data="official")


@pytest.mark.parametrize("goals", ["synthetic", "human"])
def test_the_world_written_as_official_files_is_the_same_world(tmp_path, make, goals):
    world = make(goals=goals)
    entries = [(product.asin, *official(product)) for product in world.shop.store]
    mined = {asin: one for asin, _, one, _ in entries}
    human = {asin: one for asin, _, _, one in entries if one}
    data = write_official(tmp_path, [one for _, one, _, _ in entries], mined, human)
    read = WebShopEnv("all", data=data, goals=goals, nouns="rules")
    assert list(read.shop.store) == list(world.shop.store)
    assert read.num_tasks == world.num_tasks
    assert all(read.shop.goals[index] == world.shop.goals[index] for index in range(world.num_tasks))
    assert read.shop.engine.search(("red", "shoes")) == world.shop.engine.search(("red", "shoes"))
    assert [read.shop.price(product.asin) for product in read.shop.store] == [world.shop.price(p.asin) for p in world.shop.store]


def test_the_first_records_only(tmp_path):
    asins = codes(5)
    data = write_official(tmp_path, [record("nan"), *map(record, asins)])
    assert [product.asin for product in products_of(build.open_store(data, 3))] == asins[:2]
    assert len(products_of(build.open_store(data, None))) == 5


def test_names_of_files(tmp_path):
    data = write_official(tmp_path, [record(codes(1)[0])])
    (data / "items_shuffle.json").rename(data / "items_shuffle_1000.reconstructed.json")
    assert len(products_of(build.open_store(data, None))) == 1
    (data / "items_ins_v2.json").unlink()
    with pytest.raises(DataError, match=r"no items_ins_v2\*.json"):
        build.open_store(data, None)
    with pytest.raises(DataError, match="does not exist"):
        build.open_store(tmp_path / "nowhere", None)


def test_different_contents_give_different_stores(tmp_path):
    data = write_official(tmp_path, [record(codes(1)[0])])
    first = build.open_store(data, None)
    assert build.open_store(data, None) == first
    write_official(tmp_path, [record(codes(1)[0], name="Other")])
    assert build.open_store(data, None) != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pricing": 5}, r"record 1 \(asin B000000001\) has a field of the wrong type"),
        ({"customization_options": {"Color": [{"image": "x"}]}}, r"record 1 \(asin B000000001\) has no 'value'"),
        ({"name": None}, r"record 1 \(asin B000000001\) has a field of the wrong type \('name' is None, not a string\)"),
        ({"asin": None}, "record 1: expected a product"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, change, message):
    first, second = codes(2)
    data = write_official(tmp_path, [record(first), record(second) | change], mined={})
    with pytest.raises(DataError, match=message):
        build.open_store(data, None)


def test_an_interrupted_build_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 10)
    data = write_official(tmp_path, [record(asin) for asin in codes(35)])
    seen = []

    def die(stage, done, total):
        seen.append(done)
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.open_store(data, None, die)
    later = []
    folder = build.open_store(data, None, lambda stage, done, total: later.append((stage, done)))
    assert [done for stage, done in later if stage == "products"] == [30, 35], "the first 20 products were not read again"
    assert [product.asin for product in products_of(folder)] == codes(35)
    assert not folder.with_name(f"{folder.name}.partial").exists()


def test_an_interrupted_world_resumes(monkeypatch):
    monkeypatch.setattr(build, "BATCH", 10)

    def die(stage, done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.open_store(None, 45, die)
    later = []
    build.open_store(None, 45, lambda stage, done, total: later.append((stage, done, total)))
    assert [done for stage, done, total in later if stage == "products"] == [30, 40, 45]


def _start(data, queue):
    folder = build.open_store(data, None, lambda stage, done, total: queue.put((os.getpid(), stage, done)))
    env = WebShopEnv("all", data=data)
    observation, _ = env.reset(options={"task": 0})
    queue.put((os.getpid(), str(folder), observation))


def test_processes_that_start_together_build_once(tmp_path):
    data = write_official(tmp_path, [record(asin) for asin in codes(300)])
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    workers = [context.Process(target=_start, args=(data, queue)) for _ in range(6)]
    for worker in workers:
        worker.start()
    messages = []
    while sum(isinstance(message[2], str) for message in messages) < len(workers):
        messages.append(queue.get())
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len({message[1:] for message in messages if isinstance(message[2], str)}) == 1, "all see the same store and episode"
    assert len({message[0] for message in messages if message[1] == "products"}) == 1, "one builds"


def test_a_damaged_store_is_an_error(tmp_path):
    path = tmp_path / "products.sqlite"
    with pytest.raises(DataError, match="no product store"):
        ProductStore(path)
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(DataError, match="not a product store"):
        ProductStore(path)


def test_no_products(tmp_path):
    data = write_official(tmp_path, [])
    with pytest.raises(DataError, match="no products"):
        build.open_store(data, None)


def test_human_instructions_without_attributes_are_skipped(tmp_path):
    first, second = codes(2)
    entries = [
        {"instruction": "i need a mug.", "instruction_attributes": ["easy clean"], "instruction_options": ["green"]},
        {"instruction": "no attributes", "instruction_attributes": [], "instruction_options": []},
    ]
    data = write_official(tmp_path, [record(first), record(second)], human={second: entries})
    env = WebShopEnv("all", data=data, goals="human")
    assert env.num_tasks == 1
    goal = env.shop.goals[0]
    assert goal.instruction.startswith("i need a mug, and price lower than ")
    assert goal.options == ("green",)


def test_file_hashes_are_cached(tmp_path, monkeypatch):
    data = write_official(tmp_path, [record(codes(1)[0])])
    folder = build.open_store(data, None)
    monkeypatch.setattr(build.hashlib, "file_digest", None)
    assert build.open_store(data, None) == folder
    note = next(path for path in (build.stores() / "hashes").glob("*.json") if "items_ins" in json.loads(path.read_text())["of"])
    assert set(json.loads(note.read_text())) == {"of", "sha256"}
