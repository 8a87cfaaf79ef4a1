"""The shop's search on the reference catalogue: documents and results equal those of Lucene."""

from __future__ import annotations

import gzip
import json

import pytest

from empg_gym.envs.webshop.env import WebShopEnv
from tests.conformance.webshop import reference, webshop_cache  # noqa: F401

pytestmark = pytest.mark.usefixtures("webshop_cache")


def lines(name: str) -> list[dict]:
    with gzip.open(reference() / "lucene_reference" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def env(webshop_cache) -> WebShopEnv:  # noqa: F811
    return WebShopEnv("all", data=reference() / "small")


def test_documents_and_products(env):
    """1000 documents, and the product dictionaries of upstream from which they were built."""
    expected = lines("documents_1k.jsonl.gz")
    assert len(expected) == len(env.shop.store) == 1000
    for product, entry in zip(env.shop.store, expected, strict=True):
        theirs = entry["product"]
        assert (product.asin, product.document) == (entry["id"], entry["contents"])
        assert (product.title, product.description, product.price) == (theirs["Title"], theirs["Description"], theirs["Price"])
        assert (list(product.bullets), list(product.pricing)) == (theirs["BulletPoints"], theirs["pricing"])
        assert {name: list(values) for name, values in product.options} == theirs["options"]
        assert list(dict(product.options)) == list(theirs["options"])
        assert (list(product.attributes), product.query) == (theirs["Attributes"], theirs["query"])
        assert (product.category, product.product_category) == (theirs["category"], theirs["product_category"])
        assert product.images[0] == theirs["MainImage"]
        assert dict(product.option_images) == {value: image for value, image in theirs["option_to_image"].items() if image}


def test_results(env):
    """947 queries: the same 50 products in the same order."""
    queries = lines("bm25_top50.jsonl.gz")
    assert len(queries) == 947
    for entry in queries:
        found = env.shop.engine.search(tuple(entry["q"].split(" ")))
        assert [env.shop.store[ordinal].asin for ordinal in found] == [asin for asin, _ in entry["hits"]], entry["q"]
