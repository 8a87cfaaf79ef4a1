import importlib.util
import json
import pickle

import pytest

from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.nouns import SPACY_MODEL, ListedNouns, RuleNouns, choose_nouns
from empg_gym.envs.webshop.tagger import tag, tokens
from empg_gym.errors import DataError, MissingDependencyError
from tests.webshop.records import codes, record, write_official

has_model = importlib.util.find_spec(SPACY_MODEL) is not None


def test_tokens():
    assert tokens("Women's 64GB Anti-Slip w/Strap, 15.6\" (Pack of 2)...") == [
        "Women", "64GB".removeprefix("64"), "Anti", "Slip", "w", "Strap", "15.6", "Pack", "of", "2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nouns"),
    [
        ("Portable Mens Shoes for the Gym", ("shoes", "gym")),
        ("soft cotton towels, 2pk", ("cotton", "towels")),
        ("usb-c cable 3 ft", ("usb", "c", "cable", "ft")),
        ("waterproof", ()),
        ("", ()),
        ("12345 !!!", ()),
    ],
)
def test_rules(name, nouns):
    assert tag(name) == nouns


def test_order_of_sources(tmp_path):
    data = write_official(tmp_path, [record(codes(1)[0])])
    assert choose_nouns("auto", None).name == "rules-1", "the embedded world is the same everywhere"
    assert choose_nouns("auto", data).name == (f"spacy:{SPACY_MODEL}" if has_model else "rules-1")
    (data / "nouns.json").write_text(json.dumps({codes(1)[0]: ["Mug", "mug"]}))
    assert choose_nouns("auto", data).name == "list"
    assert choose_nouns("rules", data).name == "rules-1"
    assert choose_nouns("list", data).of(codes(1)[0], "anything") == ("mug", "mug")
    assert choose_nouns("list", data).of("B999999999", "Soft Mug") == tag("Soft Mug")
    env = WebShopEnv("all", data=data)
    assert env.reset(seed=0)[1]["nouns"] == "list"
    assert env.fingerprint.endswith("-list")


@pytest.mark.skipif(has_model, reason="the spaCy model is installed")
def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(MissingDependencyError, match=SPACY_MODEL):
        choose_nouns("spacy", tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_damaged_list_is_named(tmp_path, content):
    path = tmp_path / "nouns.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"nouns\.json"):
        ListedNouns(path)
    with pytest.raises(DataError, match=r"nouns\.json"):
        ListedNouns(tmp_path / "missing" / "nouns.json")


def test_sources_are_picklable():
    assert pickle.loads(pickle.dumps(RuleNouns())).of("", "Red Mug") == ("red", "mug")
